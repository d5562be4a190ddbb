"""Activation maximization: pictures that excite a part of a network the most.

objectives/         what is maximised: one number for each picture
parameterizations/  the numbers that are moved, and the picture that they stand for
transforms/         the random changes that a picture must survive at each step
penalties/          what is subtracted from the objective
adam.py             how the numbers are moved
rectifiers.py       a way up where rectifiers block the gradient
randomness.py       one stream of random numbers for each picture
plan.py             what steps need that does not depend on the pictures, computed ahead
ascent.py           the pictures of one job, and the step that moves those of many jobs together
stopping.py         when a job is done
preparation.py      checks a request against its model and completes it

Objectives are **maximised**; each is one number for each picture, `(batch,)`; reductions over space are means.

References:
    Erhan, Bengio, Courville and Vincent, "Visualizing higher-layer features of a deep network", TR 1341, 2009.
    Olah, Mordvintsev and Schubert, "Feature visualization", https://distill.pub/2017/feature-visualization, 2017.
"""
