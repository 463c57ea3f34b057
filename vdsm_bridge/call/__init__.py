"""Calling a verb: who calls, what it may do, and the one pipeline that every call goes through."""
