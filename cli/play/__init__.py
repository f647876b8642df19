"""Plays a scenario on the running system, and shows what came: timeline, trace, balances, and which choice was true."""
