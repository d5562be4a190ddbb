"""Activation maximization: pictures that excite a part of a network the most.

objectives/         what is maximised: one number for each picture
parameterizations/  the numbers that are moved, and the picture that they stand for
transforms/         the random changes that a picture must survive at each step
penalties/          what is subtracted from the objective
optimizers/         how the numbers are moved
recipe.py           these five, made for a request
randomness.py       one stream of random numbers for each picture
plan.py             what steps need that does not depend on the pictures, computed ahead
state.py            what changes from step to step
batch.py            the pictures of several jobs, stacked, and the step that moves them together
section.py          the lanes of a batch that are computed alike, on the side of the pictures
ascent.py           the pictures of one job
readback.py         numbers of the device, read without waiting
stopping.py         when a job is done
fixed_inputs.py     what the other inputs of a model get
preparation.py      checks a request against its model and completes it

docs/extending.md says how to add an objective, a parameterization, a transform, a penalty or an optimizer.

Objectives are **maximised**; each is one number for each picture, `(batch,)`; reductions over space are means.

References:
    Erhan, Bengio, Courville and Vincent, "Visualizing higher-layer features of a deep network", TR 1341, 2009.
    Olah, Mordvintsev and Schubert, "Feature visualization", https://distill.pub/2017/feature-visualization, 2017.
"""
