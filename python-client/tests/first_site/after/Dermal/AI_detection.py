from dermald.compat.ai_detection import *
