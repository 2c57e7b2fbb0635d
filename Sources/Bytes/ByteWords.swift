/// Eight bytes at a time, for scans and hashes of whole files.
extension Span where Element == UInt8 {
    /// The eight bytes at an offset as one number, first byte lowest. All eight must be in the span.
    @inlinable public func word(at offset: Int) -> UInt64 {
        precondition(offset >= 0 && offset <= count - 8, "word out of bounds")
        return UInt64(
            littleEndian: unsafe bytes.unsafeLoadUnaligned(
                fromUncheckedByteOffset: offset,
                as: UInt64.self
            )
        )
    }

    /// A hash of the bytes for tables in memory. Whoever does not know the seed cannot choose bytes
    /// that collide on purpose; the value differs from process to process.
    @inlinable public func hash(seed: UInt64) -> UInt64 {
        var state = seed ^ UInt64(truncatingIfNeeded: count)
        var offset = 0
        while offset + 8 <= count {
            state = mix(state ^ word(at: offset))
            offset += 8
        }
        if offset < count {
            var last: UInt64 = 0
            if count >= 8 {
                last = word(at: count - 8)
            } else {
                while offset < count {
                    last = last << 8 | UInt64(self[offset])
                    offset += 1
                }
            }
            state = mix(state ^ last)
        }
        return mix(state &+ seed)
    }

    /// Both halves of a product with an odd constant: each bit of the input reaches all of the output.
    @inlinable func mix(_ value: UInt64) -> UInt64 {
        let product = (value ^ 0xA076_1D64_78BD_642F).multipliedFullWidth(by: 0xE703_7ED1_A0B4_28DB)
        return product.high ^ product.low
    }
}
