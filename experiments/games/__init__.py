"""Two nets that play against each other, each watched by a Controller: does adaptlr leave them alone?"""
