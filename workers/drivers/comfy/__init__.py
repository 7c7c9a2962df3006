"""The driver for ComfyUI servers: whole requests go there, of several people at once where our node pack is installed."""
