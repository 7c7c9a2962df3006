"""/imagine: what a member types, checked, and the answer within Discord's three seconds."""
