"""Stands in the gateway's place: asks the hub whose a token is, as the gateway does."""

import asyncio
import os
from urllib.parse import urlsplit

from jupyterhub.services.auth import HubAuth
from tornado import web

from rpacs_hub._parent import end_with_parent


class Me(web.RequestHandler):
    """Tell a token's owner who she is."""

    async def get(self) -> None:
        token = self.request.headers.get("Authorization", "").partition(" ")[2]
        user = await auth.user_for_token(token, use_cache=False, sync=False) if token else None
        if user is None or not auth.check_scopes({"access:services!service=pacs", "access:services"}, user):
            self.set_status(401)
            self.write({"error": "not_signed_in"})
            return
        environment = sorted(name for name in os.environ if name.startswith(("RPACS_", "JUPYTERHUB_CRYPT", "TEST_")))
        self.write({"name": user["name"], "groups": user["groups"], "environment": environment, "uid": os.geteuid()})


async def main() -> None:
    prefix = os.environ["JUPYTERHUB_SERVICE_PREFIX"]
    app = web.Application([(prefix + "api/v1/me", Me)])
    app.listen(urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"]).port, "127.0.0.1")
    await asyncio.Event().wait()


end_with_parent()
auth = HubAuth(cache_max_age=0)
asyncio.run(main())
