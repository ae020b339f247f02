import os
import threading
import time
from typing import Annotated

import typer

from ccat_assets.cli.output import error_console, ready


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on. There is no login: use a proxy that has one.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 3070,
    with_parent: Annotated[bool, typer.Option("--with-parent", help="End when the parent process ends.")] = False,
) -> None:
    """Serve the files of products to browsers: Dagit's links lead here (setting products_url)."""
    import uvicorn

    from ccat_assets.api.product_server import product_server

    app = ready()
    if with_parent:
        threading.Thread(target=_end_after, args=(os.getppid(),), daemon=True).start()
    error_console.print(f"products: http://{host}:{port}/products/NUMBER  (Ctrl-C ends it)")
    uvicorn.run(product_server(app.ops_db), host=host, port=port, log_level="warning")


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(0)
