"""The annotation page over a store, as a process of its own that can be killed."""

from __future__ import annotations

import sys

import uvicorn

from luthier.feedback.annotate.page_app import annotation_app
from luthier.ledger.feedback_store import FeedbackStore
from luthier.serving.listening import free_socket


def main(path: str, people: int) -> None:
    app = annotation_app(FeedbackStore(path), people_per_item=people)
    with free_socket("127.0.0.1", 0) as socket:
        socket.listen()  # so that whoever reads the port may connect at once
        print(socket.getsockname()[1], flush=True)
        config = uvicorn.Config(app, log_level="error", lifespan="off", access_log=False)
        uvicorn.Server(config).run(sockets=[socket])


main(sys.argv[1], int(sys.argv[2]))
