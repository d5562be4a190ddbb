"""The line between the front process and the workers.

protocol.py    what the front may ask of a worker; nothing above may assume more
messages.py    what is said over the line to a process, and back
process.py     starts the process
line.py        the front's end of the line: the threads that read and write
local.py       a worker as a process on this machine
child.py       what that process runs; the only module here that imports the engine, and so torch
supervisor.py  restarts a lost worker and resumes its jobs
suspicion.py   which job is to blame when a worker is lost again and again
"""
