"""The folder of the module `hooking`, which hook scripts import."""
