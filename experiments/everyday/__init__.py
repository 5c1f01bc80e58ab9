"""Learning rates that people start from: is a run left alone there?"""
