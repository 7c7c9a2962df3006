"""What an admin types in chat: sync, clearall, getid."""
