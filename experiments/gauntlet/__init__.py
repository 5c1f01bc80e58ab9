"""The wrong-learning-rate gauntlet: does a method put ruined runs right, and leave healthy ones alone?"""
