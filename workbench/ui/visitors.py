"""Who asks: a browser by its cookie, so that it finds its own again after a reload; anybody else by the session."""

import re
import secrets

import fastapi
import gradio as gr

COOKIE = "workbench_visitor"
HEAD = f"""<script>
if (!/(^|; ){COOKIE}=[0-9a-f]{{32}}/.test(document.cookie)) {{
  const token = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0"));
  document.cookie = `{COOKIE}=${{token.join("")}}; path=/; SameSite=Lax; max-age=604800`;
}}
</script>"""
"""Gives a browser its cookie, before anything is asked for."""


def visitor_of(request: "gr.Request | fastapi.Request") -> str:
    """A name for the visitor that no other visitor knows; without a cookie and a session it is nobody's."""
    raw = request if isinstance(request, fastapi.Request) else request.request
    cookie = raw.cookies.get(COOKIE, "") if raw else ""
    return (
        cookie
        if re.fullmatch("[0-9a-f]{32}", cookie)
        else getattr(request, "session_hash", "") or secrets.token_hex(16)
    )
