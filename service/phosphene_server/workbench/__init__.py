"""Commands over model files, for people who bring models in; none needs a server.

    python -m phosphene_server.workbench.check FILE         is it imported whole and exactly?
    python -m phosphene_server.workbench.add FILE ...       put it into a model repository
    python -m phosphene_server.workbench.export NAME ...    make it from torchvision or timm, and put it there

Each prints one JSON object on standard output; the command line of the SDK, which may not import the server, runs them
and shows what they say.

check.py         runs an examination within limits of time and memory
examination.py   the examination itself, in a process of its own: imports a file and measures it
report.py        what it found
formats.py       which format a file has, and what it says of its version
add.py           options -> manifest -> an entry of a repository
entries.py       an entry of a repository, written all at once or not at all
export.py        a model of a library -> a file -> an entry
exporting.py     a module of PyTorch -> a file of each format
libraries/       where models come from, with what the libraries say of them
"""
