"""The primitives of the reference session: hashes, ciphers, curves, shares, graphs, vectors.

Standard library only, from the standards named at each part; slow, and not in constant time. `self_test`
checks them against the standards' own vectors.
"""

import hashlib
import hmac
import struct

# ---- conventions


def H(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def u32(x):
    return struct.pack("<I", x)


def u64(x):
    return struct.pack("<Q", x)


def bitmap(members, n):
    out = bytearray((n + 7) // 8)
    for i in members:
        assert 0 <= i < n, "index outside the cohort"
        out[i // 8] |= 1 << (i % 8)
    return bytes(out)


def hkdf(salt, ikm, info, length=32):
    prk = hmac.new(salt, ikm, hashlib.sha256).digest()
    out = block = b""
    for counter in range(1, (length + 31) // 32 + 1):
        block = hmac.new(prk, block + info + bytes([counter]), hashlib.sha256).digest()
        out += block
    return out[:length]


# ---- Merkle trees


def levels(leaves):
    """All levels from the leaves up to the single top node."""
    assert leaves, "no root of no leaves"
    out = [list(leaves)]
    while len(out[-1]) > 1:
        row = out[-1]
        up = [H(b"\x01", row[k], row[k + 1]) for k in range(0, len(row) - 1, 2)]
        out.append(up + row[len(row) - len(row) % 2 :])
    return out


def root(leaves):
    return H(b"flsa1-root", u32(len(leaves)), levels(leaves)[-1][0])


def proof(leaves, at):
    out = []
    for row in levels(leaves)[:-1]:
        if at ^ 1 < len(row):
            out.append(row[at ^ 1])
        at //= 2
    return out


def proves(leaf, at, count, path, expected):
    node, width, path = leaf, count, list(path)
    while width > 1:
        if at ^ 1 < width:
            if not path:
                return False
            partner = path.pop(0)
            node = H(b"\x01", partner, node) if at % 2 else H(b"\x01", node, partner)
        at, width = at // 2, (width + 1) // 2
    return not path and H(b"flsa1-root", u32(count), node) == expected


# ---- AES-128 (FIPS 197), encryption, and the stream


def xtime(a):
    return (a << 1) ^ (0x11B if a & 0x80 else 0)


def sbox():
    """The S-box from its definition: the inverse in GF(2^8), then the affine map. 3 generates the group."""
    power, x = [], 1
    for _ in range(255):
        power.append(x)
        x ^= xtime(x)
    table = [0x63] * 256
    for k, value in enumerate(power):
        inverse = power[-k % 255]
        wide = inverse << 8 | inverse
        table[value] = (inverse ^ wide >> 7 ^ wide >> 6 ^ wide >> 5 ^ wide >> 4) & 0xFF ^ 0x63
    return table


SBOX = sbox()
MUL2 = [xtime(a) for a in range(256)]


def round_keys(key):
    words, rcon = [key[k : k + 4] for k in range(0, 16, 4)], 1
    for k in range(4, 44):
        word = words[-1]
        if k % 4 == 0:
            word = bytes(SBOX[x] for x in word[1:] + word[:1])
            word, rcon = bytes([word[0] ^ rcon]) + word[1:], xtime(rcon)
        words.append(bytes(a ^ b for a, b in zip(words[-4], word)))
    return [b"".join(words[k : k + 4]) for k in range(0, 44, 4)]


def aes(keys, block):
    state = [a ^ b for a, b in zip(block, keys[0])]
    for at in range(1, 11):
        # The byte of row r, column c lies at 4 c + r; row r turns left by r.
        state = [SBOX[state[(k + 4 * (k % 4)) % 16]] for k in range(16)]
        if at < 10:
            mixed = []
            for c in range(0, 16, 4):
                col = state[c : c + 4]
                total = col[0] ^ col[1] ^ col[2] ^ col[3]
                mixed += [col[r] ^ total ^ MUL2[col[r] ^ col[(r + 1) % 4]] for r in range(4)]
            state = mixed
        state = [a ^ b for a, b in zip(state, keys[at])]
    return bytes(state)


def stream(seed, length, first_block=0):
    """Bytes of the stream of `seed` (key, start block), from a block on."""
    keys, start, high = round_keys(seed[:16]), int.from_bytes(seed[16:24], "little"), seed[24:32]
    count = (length + 15) // 16
    blocks = [aes(keys, u64((start + first_block + k) % 2**64) + high) for k in range(count)]
    return b"".join(blocks)[:length]


# ---- ChaCha20-Poly1305 (RFC 8439)


def quarter(s, a, b, c, d):
    for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        s[x] = (s[x] + s[y]) & 0xFFFFFFFF
        v = s[z] ^ s[x]
        s[z] = (v << turn | v >> (32 - turn)) & 0xFFFFFFFF


def chacha20(key, counter, nonce, data):
    out = b""
    for at in range(0, len(data), 64):
        first = list(struct.unpack("<16I", b"expand 32-byte k" + key + u32(counter) + nonce))
        s = first[:]
        for _ in range(10):
            for k in range(4):
                quarter(s, k, k + 4, k + 8, k + 12)
            for k in range(4):
                quarter(s, k, (k + 1) % 4 + 4, (k + 2) % 4 + 8, (k + 3) % 4 + 12)
        pad = struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(s, first)))
        out += bytes(a ^ b for a, b in zip(data[at : at + 64], pad))
        counter += 1
    return out


def poly1305(key, data):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    total = 0
    for at in range(0, len(data), 16):
        total = (total + int.from_bytes(data[at : at + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return ((total + int.from_bytes(key[16:], "little")) % 2**128).to_bytes(16, "little")


def seal(key, nonce, data, associated=b""):
    text = chacha20(key, 1, nonce, data)
    padded = b"".join(x + bytes(-len(x) % 16) for x in (associated, text))
    mac = poly1305(chacha20(key, 0, nonce, bytes(32)), padded + u64(len(associated)) + u64(len(text)))
    return text + mac


# ---- X25519 (RFC 7748) and Ed25519 (RFC 8032)

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def x25519(secret, public):
    k = bytearray(secret)
    k[0] &= 248
    k[31] = k[31] & 127 | 64
    k = int.from_bytes(k, "little")
    x1 = (int.from_bytes(public, "little") & 2**255 - 1) % P
    x2, z2, x3, z3, swap = 1, 0, x1, 1, 0
    for t in range(254, -1, -1):
        bit = k >> t & 1
        if swap ^ bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def public_of(secret):
    return x25519(secret, (9).to_bytes(32, "little"))


def agree(secret, public):
    shared = x25519(secret, public)
    assert shared != bytes(32), "shared secret of zeros"
    return shared


def recover_x(y, sign):
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    if x * x % P != square or (x == 0 and sign):
        return None
    return P - x if x % 2 != sign else x


def add(p, q):
    """Extended coordinates X, Y, Z, T; complete on this curve, so it doubles as well."""
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(k, point):
    out = (0, 1, 1, 0)
    while k:
        if k & 1:
            out = add(out, point)
        point, k = add(point, point), k >> 1
    return out


BASE_Y = 4 * pow(5, -1, P) % P
BASE_X = recover_x(BASE_Y, 0)
BASE = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)


def encode(point):
    inverse = pow(point[2], -1, P)
    x, y = point[0] * inverse % P, point[1] * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & 2**255 - 1
    x = recover_x(y, sign) if y < P else None
    return None if x is None else (x, y, 1, x * y % P)


def hash_to_scalar(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def ed25519_keys(seed):
    """The scalar, the prefix and the public key of a seed."""
    h = hashlib.sha512(seed).digest()
    a = int.from_bytes(h[:32], "little") & 2**254 - 8 | 2**254
    return a, h[32:], encode(times(a, BASE))


def ed25519_sign(seed, message):
    a, prefix, public = ed25519_keys(seed)
    r = hash_to_scalar(prefix, message) % ORDER
    point = encode(times(r, BASE))
    s = (r + hash_to_scalar(point, public, message) % ORDER * a) % ORDER
    return point + s.to_bytes(32, "little")


def ed25519_verify(public, message, signature):
    """Strict: canonical encodings, no point of small order, the equation without the cofactor."""
    a, r, s = decode(public), decode(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= ORDER or len(signature) != 64:
        return False
    if any(encode(times(8, point)) == encode((0, 1, 1, 0)) for point in (a, r)):
        return False
    k = hash_to_scalar(signature[:32], public, message) % ORDER
    return encode(times(s, BASE)) == encode(add(r, times(k, a)))


# ---- Shamir over the integers modulo 2^61 - 1

FIELD = 2**61 - 1


def coefficients(seed, threshold):
    """For each of the five limbs the coefficients of the powers 1 to t - 1."""
    at, length, data, out = 0, 0, b"", []
    for _ in range(5):
        row = []
        while len(row) < threshold - 1:
            if at + 8 > length:
                length += 64 * threshold
                data = stream(seed, length)
            value = int.from_bytes(data[at : at + 8], "little") & FIELD
            at += 8
            if value != FIELD:
                row.append(value)
        out.append(row)
    return out


def deal(secret, seed, threshold, indices):
    """The 40 bytes of each index."""
    number = int.from_bytes(secret, "little")
    limbs = [number >> 52 * k & 2**52 - 1 for k in range(5)]
    polynomials = [[limb] + row for limb, row in zip(limbs, coefficients(seed, threshold))]
    at = lambda row, x: sum(c * pow(x, e, FIELD) for e, c in enumerate(row)) % FIELD
    return {i: b"".join(u64(at(row, i + 1)) for row in polynomials) for i in indices}


def lagrange(indices):
    """Weights that turn the values at `index + 1` into the value at zero."""
    out = []
    for i in indices:
        top = bottom = 1
        for j in indices:
            if j != i:
                top, bottom = top * (j + 1) % FIELD, bottom * (j - i) % FIELD
        out.append(top * pow(bottom, -1, FIELD) % FIELD)
    return out


def combine(shares, threshold):
    """The secret from a dict of at least t shares; the lowest t are used."""
    indices = sorted(shares)[:threshold]
    assert len(indices) == threshold, "too few shares"
    weights = lagrange(indices)
    rows = [struct.unpack("<5Q", shares[i]) for i in indices]
    limbs = [sum(w * row[k] for w, row in zip(weights, rows)) % FIELD for k in range(5)]
    assert all(limb < 2 ** (52, 52, 52, 52, 48)[k] for k, limb in enumerate(limbs)), "limb out of range"
    return sum(limb << 52 * k for k, limb in enumerate(limbs)).to_bytes(32, "little")


# ---- graphs

COMPLETE, HARARY, BUCKETS = 0, 1, 2


def shuffle(members, seed):
    out = sorted(members)

    def draws():
        block = 0
        while True:
            yield from struct.unpack("<4Q", H(seed, b"flsa1/graph", u64(block)))
            block += 1

    draw = draws()
    for i in range(len(out) - 1, 0, -1):
        value = next(draw)
        while value >= 2**64 // (i + 1) * (i + 1):
            value = next(draw)
        j = value % (i + 1)
        out[i], out[j] = out[j], out[i]
    return out


def runs_of(order, count):
    size, longer, out = len(order) // count, len(order) % count, []
    for k in range(count):
        take = size + (k < longer)
        out, order = out + [order[:take]], order[take:]
    return out


def graph(kind, degree, members, seed):
    """(shuffled or None, the runs that have sums of their own, neighbours of each member, ascending)."""
    order = None if kind == COMPLETE else shuffle(members, seed)
    runs = runs_of(order, degree) if kind == BUCKETS else [sorted(members)]
    if kind == HARARY:
        at = {i: k for k, i in enumerate(order)}
        steps = [s for s in range(-(degree // 2), degree // 2 + 1) if s]
        near = {i: {order[(at[i] + s) % len(order)] for s in steps} - {i} for i in members}
    else:
        near = {i: set(run) - {i} for run in runs for i in run}
    return order, runs, {i: sorted(near[i]) for i in members}


# ---- vectors


def pack(lanes, wide, bits):
    body = struct.pack("<%d%s" % (len(lanes), "H" if bits == 16 else "I"), *lanes)
    return body + bytes(-len(body) % 16) + struct.pack("<%dQ" % len(wide), *wide)


def unpack(data, m, bits):
    """All lanes, those of the padding too."""
    width = (len(data) - 8 * m) // (bits // 8)
    values = struct.unpack("<%d%s%dQ" % (width, "H" if bits == 16 else "I", m), data)
    return list(values[:width]), list(values[width:])


def plus(left, right, sign, m, bits):
    (a, wide_a), (b, wide_b) = unpack(left, m, bits), unpack(right, m, bits)
    lanes = [(x + sign * y) % 2**bits for x, y in zip(a, b)]
    return pack(lanes, [(x + sign * y) % 2**64 for x, y in zip(wide_a, wide_b)], bits)


# ---- the standards' own vectors


def self_test():
    x = bytes.fromhex
    # FIPS 197, C.1
    key, plain = bytes(range(16)), x("00112233445566778899aabbccddeeff")
    assert aes(round_keys(key), plain) == x("69c4e0d86a7b0430d8cdb78070b4c55a")
    # The counter is in the first 8 bytes and wraps there.
    seed, keys = key + u64(2**64 - 1) + b"ABCDEFGH", round_keys(key)
    assert stream(seed, 40) == (aes(keys, seed[16:]) + aes(keys, u64(0) + seed[24:])
                                + aes(keys, u64(1) + seed[24:]))[:40]
    assert stream(seed, 48)[16:] == stream(seed, 32, 1)
    # RFC 5869, A.1 and A.3
    assert hkdf(bytes(range(13)), b"\x0b" * 22, x("f0f1f2f3f4f5f6f7f8f9"), 42) == x(
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    assert hkdf(b"", b"\x0b" * 22, b"", 42) == x(
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8")
    # RFC 7748, 5.2: one multiplication, then 1 and 1000 rounds
    assert x25519(x("a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4"),
                  x("e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c")) == x(
        "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552")
    k = u = (9).to_bytes(32, "little")
    for turn in range(1000):
        k, u = x25519(k, u), k
        if turn == 0:
            assert k == x("422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079")
    assert k == x("684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51")
    assert x25519(key + key, bytes(32)) == bytes(32)
    # RFC 8032, 7.1: tests 1 and 2
    for seed, public, message, signature in (
        ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
         "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", b"",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd2"
         "5bf5f0595bbe24655141438e7a100b"),
        ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
         "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", b"\x72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c38"
         "7b2eaeb4302aeeb00d291612bb0c00"),
    ):
        seed, public, signature = x(seed), x(public), x(signature)
        assert ed25519_keys(seed)[2] == public and ed25519_sign(seed, message) == signature
        assert ed25519_verify(public, message, signature)
        assert not ed25519_verify(public, message + b"x", signature)
        s = int.from_bytes(signature[32:], "little") + ORDER
        assert not ed25519_verify(public, message, signature[:32] + s.to_bytes(32, "little"))
    one = b"\x01" + bytes(31)
    assert not ed25519_verify(one, b"", one + bytes(32)), "the point of order 1"
    # RFC 8439, 2.8.2
    text = (b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
            b"sunscreen would be it.")
    sealed = seal(bytes(range(128, 160)), x("070000004041424344454647"), text, x("50515253c0c1c2c3c4c5c6c7"))
    assert sealed[:16] == x("d31a8d34648e60db7b86afbc53ef7ec2")
    assert sealed[-16:] == x("1ae10b594f09e26a7e902ecbd0600691")
    # Nothing published for the rest: they must undo themselves, and refuse what is altered.
    for count in range(1, 34):
        leaves = [H(u32(k)) for k in range(count)]
        for at in range(count):
            path = proof(leaves, at)
            assert proves(leaves[at], at, count, path, root(leaves))
            assert not proves(leaves[at], at, count + 1, path, root(leaves))
    value = H(b"any secret")
    dealt = deal(value, key + key, 3, [0, 4, 6, 300])
    for gone in dealt:
        assert combine({i: s for i, s in dealt.items() if i != gone}, 3) == value
    for kind, degree in ((COMPLETE, 0), (HARARY, 6), (BUCKETS, 3)):
        near = graph(kind, degree, list(range(0, 22, 2)), key + key)[2]
        assert all(i in near[j] and i != j for i in near for j in near[i])
    assert {len(row) for row in graph(HARARY, 6, range(11), key + key)[2].values()} == {6}
    assert bitmap([0, 9], 11) == b"\x01\x02"
    assert unpack(pack([1, 2, 65535], [7], 16), 1, 16) == ([1, 2, 65535, 0, 0, 0, 0, 0], [7])
