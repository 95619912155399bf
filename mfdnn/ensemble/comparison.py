class Comparison: pass
class Row: pass
def compare(): pass
