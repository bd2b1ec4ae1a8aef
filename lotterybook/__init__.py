"""lotterybook: what makes the book Unmasking Winning Tickets of the library ``lotterylib``; it is not installed.

Read the modules in this order; each uses only those before it: ``presets``, ``records`` -> ``experiment``,
``verdicts`` -> ``style``, ``panes`` -> the rooms, one for each chapter: ``tickets``, ``barriers``, ``robustness``,
``limits``, ``retraining``, ``scale`` -> ``claims``, ``overview`` -> ``build``. In a room ``experiments`` compose the
library and return arrays, ``findings`` turn records into verdicts and quoted numbers, ``figures`` draw.
``python -m lotterybook --preset book`` makes the records of a preset.
"""
