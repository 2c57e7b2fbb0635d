//  SHA-256, FIPS 180-4
//
//  The user's process links no library that has it, and none of those that do (OpenSSL, gcrypt) is
//  worth its memory in every user's process for one function; the kernel's (AF_ALG) needs a socket,
//  which the sandbox forbids. It makes names here and guards no secret.

/// The SHA-256 hash of bytes that come piece by piece.
public struct SHA256 {
    private var state: InlineArray<8, UInt32> = [
        0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A,
        0x510E_527F, 0x9B05_688C, 0x1F83_D9AB, 0x5BE0_CD19,
    ]
    private var block = InlineArray<64, UInt8>(repeating: 0)
    private var blockCount = 0
    private var total: UInt64 = 0

    public init() {}

    public mutating func update(_ bytes: Span<UInt8>) {
        total &+= UInt64(bytes.count)
        var index = 0
        if blockCount > 0 {
            while blockCount < 64, index < bytes.count {
                block[blockCount] = bytes[index]
                blockCount &+= 1
                index &+= 1
            }
            guard blockCount == 64 else { return }
            Self.compress(block.span, at: 0, into: &state)
            blockCount = 0
        }
        while bytes.count &- index >= 64 {
            Self.compress(bytes, at: index, into: &state)
            index &+= 64
        }
        while index < bytes.count {
            block[blockCount] = bytes[index]
            blockCount &+= 1
            index &+= 1
        }
    }

    /// The 32 bytes of the hash; of no use afterwards.
    public mutating func finish() -> [UInt8] {
        let bits = total &* 8
        let padding: [UInt8] = [0x80]
        update(padding.span)
        let zero: [UInt8] = [0]
        while blockCount != 56 { update(zero.span) }
        let length = (0..<8).map { UInt8(truncatingIfNeeded: bits >> UInt64(56 - $0 * 8)) }
        update(length.span)
        var hash: [UInt8] = []
        for index in 0..<8 {
            for shift in [24, 16, 8, 0] as [UInt32] {
                hash.append(UInt8(truncatingIfNeeded: state[index] >> shift))
            }
        }
        return hash
    }

    private static let constants: [UInt32] = [
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
        0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7,
        0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc,
        0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351,
        0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e,
        0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585,
        0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
        0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
        0xc67178f2,
    ]

    private static func rotated(_ word: UInt32, _ count: UInt32) -> UInt32 {
        word >> count | word << (32 &- count)
    }

    private static func compress(
        _ bytes: Span<UInt8>,
        at start: Int,
        into state: inout InlineArray<8, UInt32>
    ) {
        var words = InlineArray<64, UInt32>(repeating: 0)
        for index in 0..<16 {
            let offset = start &+ index &* 4
            words[index] =
                UInt32(bytes[offset]) << 24 | UInt32(bytes[offset &+ 1]) << 16
                | UInt32(bytes[offset &+ 2]) << 8 | UInt32(bytes[offset &+ 3])
        }
        for index in 16..<64 {
            let early = words[index &- 15]
            let late = words[index &- 2]
            let low = rotated(early, 7) ^ rotated(early, 18) ^ early >> 3
            let high = rotated(late, 17) ^ rotated(late, 19) ^ late >> 10
            words[index] = words[index &- 16] &+ low &+ words[index &- 7] &+ high
        }
        let table = constants
        let rounds = table.span
        var (a, b, c, d) = (state[0], state[1], state[2], state[3])
        var (e, f, g, h) = (state[4], state[5], state[6], state[7])
        for index in 0..<64 {
            let high = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)
            let first = h &+ high &+ (e & f ^ ~e & g) &+ rounds[index] &+ words[index]
            let low = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)
            let second = low &+ (a & b ^ a & c ^ b & c)
            (h, g, f, e) = (g, f, e, d &+ first)
            (d, c, b, a) = (c, b, a, first &+ second)
        }
        state[0] &+= a
        state[1] &+= b
        state[2] &+= c
        state[3] &+= d
        state[4] &+= e
        state[5] &+= f
        state[6] &+= g
        state[7] &+= h
    }
}
