"""stub to be replaced"""
def run(args: list[str]) -> int: raise SystemExit(3)
