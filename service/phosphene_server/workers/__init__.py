"""The line between the front process and the workers.

protocol.py    what the front may ask of a worker; nothing above may assume more
local.py       a worker as a process on this machine
child.py       what that process runs; the only module here that imports the engine, and so torch
supervisor.py  restarts a lost worker and resumes its jobs
"""
