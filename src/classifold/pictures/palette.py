"""The colors of all charts and pictures, which color-blind readers can distinguish.

Source: Okabe and Ito 2008, "Color Universal Design", https://jfly.uni-koeln.de/color/. Yellow is
missing because it is hard to see on white. The Vega templates in .dvc/plots repeat these values.
"""

BLUE = "#0072B2"
VERMILION = "#D55E00"
GREEN = "#009E73"
PURPLE = "#CC79A7"
ORANGE = "#E69F00"
SKY_BLUE = "#56B4E9"
BLACK = "#000000"  # only on white: on a dark background it vanishes
GRAY = "#868686"  # not of their palette: lines and text that are readable on light and on dark
