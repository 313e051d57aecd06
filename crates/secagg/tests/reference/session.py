#!/usr/bin/env python3
"""An independent reference of a secure-aggregation session, standard library only (with primitives.py).

Written from docs/secure-aggregation-wire.md alone, so that it can disagree with the Rust code.
It is slow, it is not constant time, and its secrets are public: never use it for anything but tests.

    python3 session.py > session.json     write the test vectors, the same bytes every time
    python3 session.py --self-test        check the primitives against their standards
    python3 session.py --check FILE       recompute a file and stop at the first difference (exit code 1)

Bytes are lower-case hex strings; numbers are JSON integers up to 2^64 - 1. FILE is a whole `session.json`
or one record of `sessions`.

primitives
  aes_ctr_le   key, start: 16 bytes each; first_64, last_64: of a stream of `length` bytes;
               sha256_4096: SHA-256 of its first 4096 bytes
  hkdf         name, salt, ikm, info, out;   commitment: session_id, index, b, out
  shamir       secret, stream (key and start block), threshold, coefficients (five lists, one a limb, from the
               power 1 up), shares (of index 0, 1, ...), subset (t indices), lagrange (their weights at zero)
  merkle       count, leaves, root, proofs (one a leaf: list of partners)
  graph        kind (1 Harary, 2 buckets), degree, n, seed, members, shuffled, runs (buckets), neighbours
               (one list a member, in the order of members)

sessions: a record has
  name
  params       the fields of the table "Parameters" by name; deadlines is a list of 4, cohort of n
  roster       server_seed, authority_seed (needed in mode M), server_pk, entries (client_id, identity_pk,
               not_after); bytes, hash, signature (zeros in mode S)
  clients      in index order: index, identity_seed (needed in mode M), r, b, c, z; lanes (d numbers), wide
               (m numbers) for those who uploaded, or `vector`, the bytes of both
  advertised, shared, survived, acked, revealed   who sent kinds 2, 4, 6, 8, 10; index lists, ascending
  next_model_hash
  messages     from ("server" or index), to ("all", "server" or index), kind, bytes. Kinds 1, 3, 11 are one for
               all; 5 goes to each of U2, 7 to each of U3, 9 to each of those who acknowledged
  sums         for each bucket with a sum: bucket, survivors, lanes, wide, vector
  derived      optional (the first session has all): params, params_hash, roster_root, u1, u2, u3 (bitmaps), session_id,
               context, shuffled, runs, clients (channel_public, mask_secret, mask_public, commitment, self,
               stream_b, stream_r), enc (from, to, key), mask (low, high, key), masked (index, vector)

--check needs the inputs (params to next_model_hash), `messages` and `sums`; of the rest it checks what is there.
It does not look at the order of messages. Members of a bucket without a sum may have been told so (kind 13), and
then need not have been sent what is missing.
"""

import json
import struct
import sys

sys.dont_write_bytecode = True  # keep the folder as it is
from primitives import (
    BUCKETS, COMPLETE, HARARY, H, agree, bitmap, coefficients, combine, deal, ed25519_keys, ed25519_sign, graph,
    hkdf, lagrange, pack, plus, proof, public_of, root, seal, self_test, stream, u32, u64, unpack,
)

# ---- the session

PARAMS = [
    ("version", "H"), ("suite", "H"), ("mode", "B"), ("lane", "B"), ("bits", "B"), ("graph", "B"),
    ("degree", "I"), ("task", "16s"), ("round", "Q"), ("attempt", "I"), ("nonce", "32s"),
    ("model_hash", "32s"), ("config_hash", "32s"), ("d", "I"), ("m", "H"), ("clip", "f"), ("w_max", "Q"),
    ("n", "I"), ("n_min", "I"), ("threshold", "I"), ("corrupt_ppm", "I"), ("dropout_ppm", "I"),
    ("security_bits", "H"), ("correctness_bits", "H"), ("deadlines", "4Q"), ("roster_hash", "32s"),
]
SERVER = 0xFFFFFFFF
TO_ALL = (1, 3, 11)
STAGES = ("advertised", "shared", "survived", "acked", "revealed")


def pack_params(params):
    out = b""
    for name, code in PARAMS:
        value = params[name]
        if name == "deadlines":
            out += struct.pack("<4Q", *value)
        elif code.endswith("s"):
            value = bytes.fromhex(value)
            assert len(value) == int(code[:-1]), "length of " + name
            out += value
        else:
            out += struct.pack("<" + code, value)
    assert len(params["cohort"]) == params["n"], "cohort of n"
    return out + b"".join(map(u32, params["cohort"]))


def pack_roster(roster):
    out = bytes.fromhex(roster["server_pk"]) + u32(len(roster["entries"]))
    for entry in roster["entries"]:
        out += bytes.fromhex(entry["client_id"] + entry["identity_pk"]) + u64(entry["not_after"])
    return out


class Session:
    """Everything that follows from the inputs of a record, each value computed when first asked for."""

    def __init__(self, record):
        self.record, self.params = record, record["params"]
        self.malicious = self.params["mode"] == 1
        self.n, self.t = self.params["n"], self.params["threshold"]
        self.m, self.lane = self.params["m"], self.params["lane"]
        self.u1, self.u2, self.u3 = (record[k] for k in ("advertised", "shared", "survived"))
        for name, outer in zip(STAGES, (range(self.n), self.u1, self.u2, self.u3, self.u3)):
            inside = set(record[name]) <= set(outer)
            assert inside and record[name] == sorted(set(record[name])), name + ": not an ascending subset"
        clients = {c["index"]: c for c in record["clients"]}
        self.secret = {k: {i: bytes.fromhex(clients[i][k]) for i in self.u1} for k in "rbcz"}
        self.vectors = {i: self.vector(clients[i]) for i in self.u3}
        self.seeds = {}
        if self.malicious:
            self.seeds = {i: bytes.fromhex(clients[i]["identity_seed"]) for i in self.u1}
            self.seeds[SERVER] = bytes.fromhex(record["roster"]["server_seed"])
        self.messages = []
        self.header = u64(self.params["round"]) + u32(self.params["attempt"])
        self.begin()
        self.agree()

    def vector(self, client):
        if "lanes" in client:
            return pack(client["lanes"], client["wide"], self.lane)
        return bytes.fromhex(client["vector"])

    def sign(self, kind, context, sender, body):
        if not self.malicious:
            return bytes(64)
        text = b"flsa1-sig\x00" + bytes([kind]) + context + u32(sender) + H(body)
        return ed25519_sign(self.seeds[sender], text)

    def send(self, source, target, kind, body):
        text = bytes([kind]) + self.header + body
        self.messages.append({"from": source, "to": target, "kind": kind, "bytes": text.hex()})

    def begin(self):
        """Roster, parameters, advertised keys: what the session id is made of."""
        self.roster = pack_roster(self.record["roster"])
        self.roster_hash = H(b"flsa1-roster", self.roster)
        self.roster_signature = bytes(64)
        if self.malicious:
            self.seeds["authority"] = bytes.fromhex(self.record["roster"]["authority_seed"])
            text = b"flsa1-sig\x00" + bytes(33) + u32(SERVER) + H(self.roster)
            self.roster_signature = ed25519_sign(self.seeds["authority"], text)
        assert self.params["roster_hash"] == self.roster_hash.hex(), "roster_hash"
        self.packed = pack_params(self.params)
        self.params_hash = H(b"flsa1-params", self.packed)
        self.mask_secret = {i: hkdf(b"", self.secret["r"][i], b"flsa1/sk") for i in self.u1}
        self.channel = {i: public_of(self.secret["c"][i]) for i in self.u1}
        self.mask = {i: public_of(self.mask_secret[i]) for i in self.u1}
        self.advertise = {}
        for i in self.u1:
            body = u32(i) + self.channel[i] + self.mask[i]
            self.advertise[i] = body + self.sign(2, self.params_hash, i, body)
        self.roster_root = root([H(b"\x00", self.advertise[i]) for i in self.u1])
        set1, set2, set3 = (bitmap(u, self.n) for u in (self.u1, self.u2, self.u3))
        self.sets = set1, set2, set3
        self.id = H(b"flsa1-sid", self.params_hash, self.roster_root, set1)
        self.hash2, self.hash3 = H(set2), H(set3)
        hashes = bytes.fromhex(self.params["model_hash"] + self.params["config_hash"])
        self.context = self.id + self.hash2 + hashes + u64(self.params["round"])
        shape = self.params["graph"], self.params["degree"], self.u1, self.id
        self.order, self.runs, self.near = graph(*shape)

    def agree(self):
        """Every derived key, from the clients' own side."""
        self.enc, self.pair, salt = {}, {}, H(self.context)
        for i in self.u1:
            for j in self.near[i]:
                if i < j:
                    shared = agree(self.secret["c"][i], self.channel[j])
                    for a, b in ((i, j), (j, i)):
                        self.enc[a, b] = hkdf(self.id, shared, b"flsa1/enc" + u32(a) + u32(b))
                    if i in self.u2 and j in self.u2:
                        shared = agree(self.mask_secret[i], self.mask[j])
                        self.pair[i, j] = hkdf(salt, shared, b"flsa1/mask" + u32(i) + u32(j))
        self.self_mask = {i: hkdf(salt, self.secret["b"][i], b"flsa1/self" + u32(i)) for i in self.u2}
        self.commitment, self.poly, self.shares = {}, {}, {}
        for i in self.u2:
            self.commitment[i] = H(b"flsa1/cb", self.id, u32(i), self.secret["b"][i])
            for w, name in enumerate("br"):
                seed = hkdf(self.id, self.secret["z"][i], b"flsa1/poly" + bytes([w]))
                self.poly[name, i] = seed
                dealt = deal(self.secret[name][i], seed, self.t, self.near[i] + [i])
                self.shares[name, i] = dealt

    def key_messages(self):
        zeros = bytes(32)
        self.send("server", "all", 1, self.packed + self.sign(1, zeros, SERVER, self.packed))
        for i in self.u1:
            self.send(i, "server", 2, self.advertise[i])
        self.send("server", "all", 3, self.sets[0] + b"".join(self.advertise[i] for i in self.u1))
        sealed = {}
        for i in self.u2:
            for j in self.near[i]:
                plain = self.shares["b", i][j] + self.shares["r", i][j]
                sealed[i, j] = seal(self.enc[i, j], bytes(12), plain)
            row = [sealed[i, j] for j in self.near[i]]
            front = u32(i) + self.commitment[i]
            signature = self.sign(4, self.id, i, front + root([H(b"\x00", x) for x in row]))
            self.send(i, "server", 4, front + u32(len(row)) + b"".join(row) + signature)
        for i in self.u2:
            row = [sealed[j, i] for j in self.near[i] if j in self.u2]
            self.send("server", i, 5, self.sets[1] + u32(len(row)) + b"".join(row))

    def masked_messages(self):
        self.masked = {}
        for i in self.u3:
            total = self.expand(self.self_mask[i], self.vectors[i], 1)
            for j in self.near[i]:
                if j in self.u2:
                    total = self.expand(self.pair[min(i, j), max(i, j)], total, 1 if j > i else -1)
            self.masked[i] = total
            front = u32(i) + self.hash2
            signature = self.sign(6, self.id, i, front + H(total))
            self.send(i, "server", 6, front + u32(len(total)) + total + signature)
        leaves = [H(b"\x00", u32(i), H(self.masked[i])) for i in self.u3]
        self.bodies_root = root(leaves)
        for at, i in enumerate(self.u3):
            path = proof(leaves, at)
            text = self.sets[2] + self.bodies_root + bytes([len(path)]) + b"".join(path)
            self.send("server", i, 7, text)

    def closing_messages(self):
        if self.malicious:
            body = self.hash2 + self.hash3 + self.bodies_root
            acks = {i: u32(i) + self.sign(8, self.id, i, u32(i) + body) for i in self.record["acked"]}
            for i, ack in acks.items():
                self.send(i, "server", 8, ack)
            for run in self.runs:
                inside = [i for i in sorted(run) if i in acks]
                for i in inside:
                    self.send("server", i, 9, u32(len(inside)) + b"".join(acks[j] for j in inside))
        self.revealed = {}
        for i in self.record["revealed"]:
            owners = [j for j in sorted(self.near[i] + [i]) if j in self.u2]
            row = {j: self.shares["b" if j in self.u3 else "r", j][i] for j in owners}
            self.revealed[i] = row
            text = b"".join(row.values())
            signature = self.sign(10, self.id, i, u32(i) + text)
            self.send(i, "server", 10, u32(i) + u32(len(row)) + text + signature)
        self.sums = self.unmask()
        result = H(*(bytes.fromhex(x["vector"]) for x in self.sums))
        body = self.hash3 + result + bytes.fromhex(self.record["next_model_hash"])
        self.send("server", "all", 11, self.id + body + self.sign(11, self.id, SERVER, body))

    def expand(self, seed, total, sign):
        return plus(total, stream(seed, len(total)), sign, self.m, self.lane)

    def unmask(self):
        """The server's side: only masked vectors, public keys and revealed shares; then a look at the inputs."""
        out, salt = [], H(self.context)
        answers = {}
        for i, row in self.revealed.items():
            for j, share in row.items():
                answers.setdefault(j, {})[i] = share
        for bucket, run in enumerate(self.runs):
            inside = sorted(i for i in run if i in self.u3)
            owners = [j for j in run if j in self.u2]
            short = any(len(answers.get(j, {})) < self.t for j in owners)
            if short or len(inside) < max(self.t, self.params["n_min"]):
                continue
            total = plain = bytes(len(self.masked[inside[0]]))
            for i in inside:
                total = plus(total, self.masked[i], 1, self.m, self.lane)
                plain = plus(plain, self.vectors[i], 1, self.m, self.lane)
            for j in owners:
                secret = combine(answers[j], self.t)
                if j in self.u3:
                    assert H(b"flsa1/cb", self.id, u32(j), secret) == self.commitment[j], "commitment"
                    total = self.expand(hkdf(salt, secret, b"flsa1/self" + u32(j)), total, -1)
                    continue
                secret = hkdf(b"", secret, b"flsa1/sk")
                assert public_of(secret) == self.mask[j], "mask key of a client that dropped out"
                for i in (i for i in self.near[j] if i in self.u3):
                    ends = u32(min(i, j)) + u32(max(i, j))
                    seed = hkdf(salt, agree(secret, self.mask[i]), b"flsa1/mask" + ends)
                    total = self.expand(seed, total, -1 if j > i else 1)
            assert total == plain, "the unmasked sum is not the sum of the inputs"
            lanes, wide = unpack(total, self.m, self.lane)
            lanes = lanes[: self.params["d"]]
            out.append({"bucket": bucket, "survivors": inside, "lanes": lanes, "wide": wide,
                        "vector": total.hex()})
        return out

    def derived(self):
        text = lambda x: x.hex()
        clients = [
            {"index": i, "channel_public": text(self.channel[i]), "mask_secret": text(self.mask_secret[i]),
             "mask_public": text(self.mask[i])} for i in self.u1
        ]
        for client in (c for c in clients if c["index"] in self.u2):
            i = client["index"]
            client.update(commitment=text(self.commitment[i]), self=text(self.self_mask[i]),
                          stream_b=text(self.poly["b", i]), stream_r=text(self.poly["r", i]))
        return {
            "params": text(self.packed), "params_hash": text(self.params_hash),
            "roster_root": text(self.roster_root),
            "u1": text(self.sets[0]), "u2": text(self.sets[1]), "u3": text(self.sets[2]),
            "session_id": text(self.id), "context": text(self.context),
            "shuffled": self.order, "runs": self.runs, "clients": clients,
            "enc": [{"from": i, "to": j, "key": text(k)} for (i, j), k in sorted(self.enc.items())],
            "mask": [{"low": i, "high": j, "key": text(k)} for (i, j), k in sorted(self.pair.items())],
            "masked": [{"index": i, "vector": text(x)} for i, x in self.masked.items()],
        }


def rebuild(record):
    """The same record with everything that can be computed filled in."""
    session = Session(record)
    session.key_messages()
    session.masked_messages()
    session.closing_messages()
    out = dict(record)
    out["roster"] = dict(record["roster"], bytes=session.roster.hex(), hash=session.roster_hash.hex(),
                         signature=session.roster_signature.hex())
    out.update(messages=session.messages, sums=session.sums, derived=session.derived())
    return out


# ---- the vectors that session.json holds


def secret(name, length=32):
    return b"".join(H(b"secret", name.encode(), bytes(x)) for x in range((length + 31) // 32))[:length]


def numbers(name, count, bits):
    data = secret(name, 8 * count)
    return [x % 2**bits for x in struct.unpack("<%dQ" % count, data)]


def metrics(name, index, w_max):
    """One, weight, examples, a signed number (so that sums wrap), two more counts."""
    a, b, c, d, e = numbers(name, 5, 40)
    signed = (-c if index % 2 else c) % 2**64
    return [1, 1 + a % w_max, b % 5000, signed, d, e % 100]


def make_roster(name, people):
    entries = []
    for k in range(people):
        seed = secret("%s/identity/%d" % (name, k))
        entries.append({"client_id": secret("%s/id/%d" % (name, k), 16).hex(), "identity_seed": seed.hex(),
                        "identity_pk": ed25519_keys(seed)[2].hex(),
                        "not_after": 1893456000 + 86400 * k})
    entries.sort(key=lambda entry: entry["client_id"])
    seeds = {who: secret("%s/%s" % (name, who)) for who in ("server", "authority")}
    return {
        "server_seed": seeds["server"].hex(), "authority_seed": seeds["authority"].hex(),
        "server_pk": ed25519_keys(seeds["server"])[2].hex(),
        "authority_pk": ed25519_keys(seeds["authority"])[2].hex(), "entries": entries,
    }


def inputs(name, n, mode, lane, bits, kind, degree, d, m, threshold):
    """The inputs of a session in which nobody drops out; two people of the roster are not in the cohort."""
    roster = make_roster(name, n + 2)
    cohort = [place for place in range(n + 2) if place not in (1, n)]
    # Fields whose bytes must be told apart get values that no other field has.
    params = {
        "version": 1, "suite": 1, "mode": mode, "lane": lane, "bits": bits, "graph": kind, "degree": degree,
        "task": secret(name + "/task", 16).hex(), "round": 0x0102030405060708, "attempt": 0x11121314,
        "nonce": secret(name + "/nonce").hex(), "model_hash": secret(name + "/model").hex(),
        "config_hash": secret(name + "/config").hex(), "d": d, "m": m, "clip": 2.5, "w_max": 1000, "n": n,
        "n_min": 3, "threshold": threshold, "corrupt_ppm": 200000, "dropout_ppm": 100000,
        "security_bits": 40, "correctness_bits": 30, "deadlines": [10000, 60000, 70000, 80000],
        "roster_hash": H(b"flsa1-roster", pack_roster(roster)).hex(), "cohort": cohort,
    }
    clients = []
    for i, place in enumerate(cohort):
        own = "%s/client/%d/" % (name, i)
        wide = metrics(own + "wide", i, params["w_max"])[:m]
        seed = roster["entries"][place]["identity_seed"]
        clients.append({"index": i, "identity_seed": seed} | {k: secret(own + k).hex() for k in "rbcz"}
                       | {"lanes": numbers(own + "lanes", d, bits), "wide": wide})
    everyone = list(range(n))
    sets = {k: everyone[:] for k in ("advertised", "shared", "survived", "acked", "revealed")}
    if mode == 0:
        sets["acked"] = []
    check_rules(params)
    after = {"next_model_hash": secret(name + "/next").hex()}
    return {"name": name, "params": params, "roster": roster, "clients": clients} | sets | after


def check_rules(params):
    """The rules of legality that these sessions must obey (gamma = 0.2)."""
    n, t = params["n"], params["threshold"]
    size = -(-n // params["degree"]) if params["graph"] == BUCKETS else n
    corrupt = -(-size * params["corrupt_ppm"] // 10**6)
    least = (size + corrupt) // 2 + 1 if params["mode"] == 1 else corrupt + 1
    assert least <= t <= size and size * (2 ** params["bits"] - 1) < 2 ** params["lane"], "not legal"


def drop(record, client, after):
    """The client sends nothing after that stage; None: nothing at all."""
    for stage in STAGES[STAGES.index(after) + 1 if after else 0 :]:
        record[stage] = [i for i in record[stage] if i != client]


def make_sessions():
    one = inputs("malicious-complete-5", 5, 1, 32, 29, COMPLETE, 0, 37, 6, 4)
    drop(one, 2, "shared")
    two = inputs("malicious-buckets-10", 10, 1, 16, 12, BUCKETS, 2, 21, 3, 4)
    # t = 4 of 5: a bucket bears one loss, so the two come from different buckets.
    runs = Session(two).runs
    drop(two, runs[0][0], "advertised")
    drop(two, runs[1][4], "survived")
    three = inputs("semi-honest-harary-12", 12, 0, 32, 28, HARARY, 6, 10, 2, 4)
    drop(three, 7, "shared")
    four = inputs("semi-honest-every-stage-9", 9, 0, 32, 28, COMPLETE, 0, 5, 1, 4)
    for client, stage in ((1, None), (4, "advertised"), (6, "shared"), (8, "survived")):
        drop(four, client, stage)
    out = [rebuild(record) for record in (one, two, three, four)]
    for record in out[1:]:
        del record["derived"]
    return out


def make_primitives():
    out = {"aes_ctr_le": [], "hkdf": [], "shamir": [], "merkle": [], "graph": []}
    wraps = secret("ctr/1", 16) + u64(2**64 - 3) + secret("ctr/high", 8)
    for seed in (secret("ctr/0"), wraps):
        length = 2**20
        out["aes_ctr_le"].append({
            "key": seed[:16].hex(), "start": seed[16:].hex(), "length": length,
            "first_64": stream(seed, 64).hex(), "last_64": stream(seed, 64, length // 16 - 4).hex(),
            "sha256_4096": H(stream(seed, 4096)).hex(),
        })
    salt, ikm = secret("hkdf/salt"), secret("hkdf/ikm")
    for name, use, info in (
        ("mask secret", b"", b"flsa1/sk"), ("channel", salt, b"flsa1/enc" + u32(3) + u32(1)),
        ("pair mask", salt, b"flsa1/mask" + u32(1) + u32(3)), ("self mask", salt, b"flsa1/self" + u32(258)),
        ("coefficients of b", salt, b"flsa1/poly\x00"), ("coefficients of r", salt, b"flsa1/poly\x01"),
    ):
        out["hkdf"].append({"name": name, "salt": use.hex(), "ikm": ikm.hex(), "info": info.hex(),
                            "out": hkdf(use, ikm, info).hex()})
    out["commitment"] = {"session_id": salt.hex(), "index": 258, "b": ikm.hex(),
                         "out": H(b"flsa1/cb", salt, u32(258), ikm).hex()}
    for n, t, subset, value in (
        (5, 4, [0, 1, 3, 4], secret("shamir/5")), (20, 11, list(range(9, 20)), secret("shamir/20")),
        (3, 3, [0, 1, 2], b"\xff" * 32), (3, 2, [0, 2], bytes(32)),
    ):
        seed = secret("shamir/stream/%d/%d" % (n, t))
        shares = deal(value, seed, t, range(n))
        assert combine({i: shares[i] for i in subset}, t) == value
        out["shamir"].append({
            "secret": value.hex(), "stream": seed.hex(), "threshold": t, "coefficients": coefficients(seed, t),
            "shares": [shares[i].hex() for i in range(n)], "subset": subset, "lagrange": lagrange(subset),
        })
    for count in range(1, 10):
        leaves = [H(b"leaf", u32(k)) for k in range(count)]
        proofs = [[x.hex() for x in proof(leaves, k)] for k in range(count)]
        out["merkle"].append({"count": count, "leaves": [x.hex() for x in leaves],
                              "root": root(leaves).hex(), "proofs": proofs})
    for kind, degree, n, members in (
        (HARARY, 4, 15, [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14]), (HARARY, 4, 6, [0, 2, 3, 4, 5]),
        (BUCKETS, 3, 13, [0, 1, 3, 4, 5, 6, 7, 9, 10, 11, 12]), (BUCKETS, 2, 10, list(range(10))),
    ):
        seed = secret("graph/%d/%d/%d" % (kind, degree, n))
        order, runs, near = graph(kind, degree, members, seed)
        out["graph"].append({
            "kind": kind, "degree": degree, "n": n, "seed": seed.hex(), "members": members, "shuffled": order,
            "runs": runs if kind == BUCKETS else None, "neighbours": [near[i] for i in members],
        })
    return out


def text_of(value, indent=0):
    """JSON with short values and lists of plain values on one line."""
    line = json.dumps(value)
    plain = isinstance(value, list) and not any(isinstance(x, (list, dict)) for x in value)
    message = isinstance(value, dict) and "kind" in value and "bytes" in value
    if not isinstance(value, (list, dict)) or plain or message or len(line) < 120:
        return line
    pad, end = "\n" + " " * (indent + 1), "\n" + " " * indent
    if isinstance(value, list):
        return "[" + ",".join(pad + text_of(x, indent + 1) for x in value) + end + "]"
    rows = (pad + json.dumps(k) + ": " + text_of(x, indent + 1) for k, x in value.items())
    return "{" + ",".join(rows) + end + "}"


# ---- checking a file


class Difference(Exception):
    pass


def compare(where, found, expected):
    """Whatever is in `found` must be so in `expected`; `found` may leave keys of dictionaries out."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key, value in found.items():
            if key not in expected:
                raise Difference("%s.%s: no such field" % (where, key))
            compare("%s.%s" % (where, key), value, expected[key])
    elif isinstance(found, list) and isinstance(expected, list):
        if len(found) != len(expected):
            raise Difference("%s: %d entries, expected %d" % (where, len(found), len(expected)))
        for k, (a, b) in enumerate(zip(found, expected)):
            compare("%s[%d]" % (where, k), a, b)
    elif found != expected:
        at = ""
        if isinstance(found, str) and isinstance(expected, str):
            same = next((k for k, (a, b) in enumerate(zip(found, expected)) if a != b), None)
            same = min(len(found), len(expected)) if same is None else same
            at = " at byte %d of %d (expected %d)" % (same // 2, len(found) // 2, len(expected) // 2)
            found, expected = (x[same // 2 * 2 :][:32] for x in (found, expected))
        raise Difference("%s differs%s: found %s, expected %s" % (where, at, found, expected))


def check_messages(name, found, expected, without):
    """Byte for byte by sender, receiver and kind; a message to all may be listed for each receiver.

    `without`: the members of buckets without a sum."""
    wanted = {(x["from"], x["to"], x["kind"]): x["bytes"] for x in expected}
    header = expected[0]["bytes"][2:26]
    seen, told = set(), set()
    for k, message in enumerate(found):
        source, target, kind = message["from"], message["to"], message["kind"]
        key = (source, "all" if source == "server" and kind in TO_ALL else target, kind)
        where = "%s: message %d (kind %s, from %s to %s)" % (name, k, kind, source, target)
        if source == "server" and kind == 13 and target in without:
            compare(where, message["bytes"][:-2], "0d" + header)
            told.add(target)
            continue
        if key not in wanted:
            raise Difference(where + " should not be there")
        compare(where, message["bytes"], wanted[key])
        seen.add(key)
    for source, target, kind in (key for key in wanted if key not in seen):
        if source == "server" and target in told:
            continue
        raise Difference("%s: no message of kind %s from %s to %s" % (name, kind, source, target))


def check(path):
    try:
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
    except (OSError, ValueError) as error:
        raise Difference("%s: cannot be read: %s" % (path, error))
    records = data.get("sessions", [data]) if isinstance(data, dict) else []
    if not records or not all(isinstance(record, dict) for record in records):
        raise Difference("%s: holds no session record" % path)
    if "primitives" in data:
        compare("primitives", data["primitives"], make_primitives())
    for k, record in enumerate(records):
        name = "session %d (%s)" % (k, record.get("name", "no name"))
        try:
            expected = rebuild(record)
            vectors = [x["vector"] for x in record["sums"]]
            summed = {x["bucket"] for x in expected["sums"]}
            runs = enumerate(expected["derived"]["runs"])
            without = {i for bucket, run in runs if bucket not in summed for i in run}
            check_messages(name, record["messages"], expected["messages"], without)
        except (ArithmeticError, AssertionError, LookupError, TypeError, ValueError, struct.error) as error:
            raise Difference("%s: cannot be recomputed: %r" % (name, error))
        compare(name + ": sums", vectors, [x["vector"] for x in expected["sums"]])
        compare(name + ": sums", record["sums"], expected["sums"])
        for part in ("roster", "derived"):
            compare("%s: %s" % (name, part), record.get(part, {}), expected[part])
    return len(records)


def main(arguments):
    if not __debug__:
        print("not with -O: the checks are assertions", file=sys.stderr)
        return 2
    if arguments == ["--self-test"]:
        self_test()
        print("self-test: passed")
    elif len(arguments) == 2 and arguments[0] == "--check":
        try:
            count = check(arguments[1])
        except Difference as difference:
            print("DIFFERENCE " + str(difference))
            return 1
        print("%d session(s): every message as expected" % count)
    elif not arguments:
        print(text_of({"primitives": make_primitives(), "sessions": make_sessions()}))
    else:
        print("usage: session.py [--self-test | --check FILE]", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
