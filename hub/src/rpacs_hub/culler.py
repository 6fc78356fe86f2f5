"""The idle culler as a process of the Hub's: ``python -m rpacs_hub.culler``; options as of ``jupyterhub_idle_culler``.

Beside the packages that the Hub needs, so that this small process loads none of them.
"""

from jupyterhub_idle_culler import main  # type: ignore[import-untyped]

from rpacs_hub._parent import end_with_parent

if __name__ == "__main__":
    end_with_parent()
    main()
