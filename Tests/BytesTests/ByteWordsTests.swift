import Bytes
import Testing

@Suite("Bytes by words")
struct ByteWordsTests {
    @Test("finds a byte wherever it is", arguments: [0, 1, 7, 8, 9, 15, 16, 17, 40])
    func firstIndex(_ count: Int) {
        // Neighbours of the byte sought, and bytes that differ from it in one bit.
        for filler in [0x0B, 0x09, 0x8A, 0x00, 0x01, 0xFF, 0x0A ^ 0x80] as [UInt8] {
            var bytes = Array(repeating: filler, count: count)
            #expect(index(of: 0x0A, in: bytes) == nil)
            for place in bytes.indices {
                bytes[place] = 0x0A
                #expect(index(of: 0x0A, in: bytes) == place)
                for start in 0...count {
                    #expect(
                        index(of: 0x0A, in: bytes, from: start) == (start <= place ? place : nil)
                    )
                }
                bytes[place] = filler
            }
        }
    }

    private func index(of byte: UInt8, in bytes: [UInt8], from start: Int = 0) -> Int? {
        bytes.span.firstIndex(of: byte, from: start)
    }

    @Test("finds any byte among all others") func anyByte() {
        let bytes = (0...255).map { UInt8($0) } + (0...255).map { UInt8(255 - $0) }
        for byte in 0...255 { #expect(index(of: UInt8(byte), in: bytes) == byte) }
    }

    @Test("equal only if all bytes are", arguments: [0, 1, 7, 8, 9, 16, 23])
    func equals(_ count: Int) {
        let left = (0..<count).map { UInt8($0) }
        var right = left
        #expect(isEqual(left, right))
        #expect(!isEqual(left, right + [0]))
        for place in right.indices {
            right[place] ^= 0x80
            #expect(!isEqual(left, right))
            right[place] ^= 0x80
        }
    }

    private func isEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        left.span.equals(right.span)
    }

    @Test(
        "a hash depends on each byte, the length and the seed",
        arguments: [0, 1, 7, 8, 9, 16, 23]
    )
    func hash(_ count: Int) {
        var bytes = (0..<count).map { UInt8($0) }
        var hashes: Set = [hash(bytes, 1), hash(bytes, 2), hash(bytes + [0], 1)]
        #expect(hash(bytes, 1) == hash(bytes, 1))
        for place in bytes.indices {
            bytes[place] ^= 1
            hashes.insert(hash(bytes, 1))
            bytes[place] ^= 1
        }
        #expect(hashes.count == count + 3)
    }

    private func hash(_ bytes: [UInt8], _ seed: UInt64) -> UInt64 { bytes.span.hash(seed: seed) }
}
