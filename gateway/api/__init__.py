"""INBOUND edge. Rule: FastAPI and Starlette live here only; nothing here decides or spends."""
