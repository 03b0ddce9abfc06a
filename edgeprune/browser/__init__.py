"""The page that measures in a browser: its files, the server that serves them, and what comes back.

exchange.py  what a browser and the measuring thread exchange: tasks one way, replies the other
serving.py   the HTTP server: the page's files below a secret path, and nothing else
messages.py   what a browser sends, validated
link.py       the link to the page: addresses, QR code, certificate
web_files.py  ONNX Runtime's files for browsers: which, where, and how they are had
page/         the page: plain HTML, CSS and JavaScript
"""
