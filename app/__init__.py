"""The web page: FastAPI outside, Gradio inside; it never imports torch."""

import os

# Read by Gradio when it is imported: no call home, no record of inputs in the browser.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_RUN_HISTORY", "False")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
