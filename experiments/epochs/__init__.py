"""Whole epochs of all images: what does a wrong learning rate cost where there is time?"""
