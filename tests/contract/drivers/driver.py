"""Calls the programs of docs/keys.md with what the test says, and prints what they answer."""
import json
import sys

import redis

from events import follow
from market import read_market
from position import read_position

url, what, *args = sys.argv[1:]
r = redis.Redis.from_url(url, decode_responses=True)
if what == "position":
    p = read_position(r, args[0], args[1], oldest_ms=int(args[2]))
    print(json.dumps([p.usable, p.may_open, p.why, str(p.size), str(p.entry_price)]))
elif what == "market":
    m = read_market(r, args[0], oldest_ms=int(args[1]))
    print(json.dumps(m and [str(m["price"]), m["bid"] and str(m["bid"]), m["ask"] and str(m["ask"])]))
elif what == "events":
    symbol, group, rounds, die_after = args[0], args[1], int(args[2]), int(args[3])
    seen = 0

    def act(kind, event_id, data):
        global seen
        if seen == die_after:
            sys.exit(9)  # taken, and not acknowledged
        seen += 1
        print(json.dumps([kind, event_id, isinstance(data, dict)]), flush=True)

    follow(r, symbol, group, "bot", act, block_ms=200, rounds=rounds)
elif what == "schema":
    import jsonschema

    schemas, found = (json.load(open(name)) for name in args)
    validator = jsonschema.Draft202012Validator
    validator.check_schema(schemas)
    wrong = []
    for key, [row, value] in found.items():
        schema = schemas["$defs"][row]
        validator.check_schema(schema)
        wrong += [f"{key}: {e.message[:200]} at {list(e.path)}" for e in validator(schema).iter_errors(value)]
    print(json.dumps([len(found), wrong]))
