"""What the pixels may show, the ways to find and remove it, and the codecs that read and write them."""
