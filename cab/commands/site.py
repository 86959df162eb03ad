"""`cab site`: the leaderboard as web pages."""

from pathlib import Path
from typing import Annotated

import typer

from cab.commands.common import output
from cab.commands.common.boards import Results
from cab.commands.common.help import Command
from cab.commands.common.options import Include
from cab.errors import CabError, counted

app = typer.Typer(help="Build the pages of the leaderboard, or view them.", no_args_is_help=True)

Out = Annotated[
    Path,
    typer.Option("--out", help="The folder to write the pages to; its contents are replaced."),
]
DEFAULT_OUT = Path("site/public")


@app.command("build", cls=Command)
def build(results: Results = None, out: Out = DEFAULT_OUT, include: Include = None) -> None:
    """Write all pages from the published results.

    The same results give the same bytes.
    """
    from cab.site.build import build_site

    pages = build_site(results, out, tuple(include or ()))
    for problem in (*pages.problems, *pages.notes):
        output.warn(problem)
    output.out.print(
        f"Wrote {counted(len(pages.files), 'file')} to {out}.", markup=False, soft_wrap=True
    )


@app.command("serve", cls=Command)
def serve(
    results: Results = None,
    out: Out = DEFAULT_OUT,
    include: Include = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 chooses a free one.")
    ] = 8000,
) -> None:
    """Build the pages and serve them on this machine, until Ctrl-C."""
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    build(results, out, include)
    handler = partial(SimpleHTTPRequestHandler, directory=str(out))
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise CabError(f"Port {port} cannot be used: {error}. Choose another --port.") from None
    with server:
        output.out.print(f"http://127.0.0.1:{server.server_address[1]}/", markup=False)
        server.serve_forever()
