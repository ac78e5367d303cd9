"""Configuration of Superset in test_dashboard.py: every request is the admin's, and results of charts are recorded."""

import os
import uuid
from pathlib import Path

from flask import Flask, Response, request
from flask_login import current_user, login_user

WTF_CSRF_ENABLED = False
TALISMAN_ENABLED = False


def FLASK_APP_MUTATOR(app: Flask) -> None:  # noqa: N802
    """Log in without a form, and write each chart's result into the folder RECORDED."""

    @app.before_request
    def log_in() -> None:
        from superset import security_manager

        if "/static/" not in request.path and not current_user.is_authenticated:
            login_user(security_manager.find_user("admin"))

    @app.after_request
    def record(response: Response) -> Response:
        if request.path == "/api/v1/chart/data":
            record = {"query": request.get_json(), "status": response.status_code, "answer": response.get_json()}
            part = Path(os.environ["RECORDED"]) / f"{uuid.uuid4()}.part"
            part.write_text(app.json.dumps(record), encoding="utf-8")
            part.rename(part.with_suffix(".json"))
        return response
