//  From LF to CRLF
//
//  Messages of hundreds of megabytes go out in their CRLF form. The bytes are copied 32 at a time;
//  a block that holds no LF and no NUL takes three compares and is done.

extension ByteBuffer {
    /// Appends the bytes with each LF that does not follow a CR as CRLF, and with each NUL as
    /// `substitute`. What stands before the span is not looked at, except that `followsCR` says
    /// whether it ends with a CR.
    ///
    /// - Returns: how many octets were appended.
    @discardableResult
    public mutating func appendCRLF(
        of text: Span<UInt8>,
        nulSubstitute substitute: UInt8,
        followsCR: Bool = false
    ) -> Int {
        let before = bytes.count
        var start = 0
        var followsCR = followsCR
        // In pieces, so that the room for the worst case (only LFs) stays small.
        while start < text.count {
            let end = Swift.min(start + 32_768, text.count)
            let piece = text.extracting(start..<end)
            let follows = followsCR
            bytes.append(addingCapacity: 2 * piece.count + 32) { output in
                unsafe output.withUnsafeMutableBufferPointer { room, count in
                    unsafe count += convert(piece, follows, substitute, room, count)
                }
            }
            followsCR = piece[piece.count - 1] == .cr
            start = end
        }
        return bytes.count - before
    }
}

/// Writes the CRLF form behind the first `filled` bytes of the room, which has place for twice the
/// text and 32 bytes more. Returns how much it is.
private func convert(
    _ text: Span<UInt8>,
    _ followsCR: Bool,
    _ substitute: UInt8,
    _ room: UnsafeMutableBufferPointer<UInt8>,
    _ filled: Int
) -> Int {
    precondition(room.count - filled >= 2 * text.count + 32, "too little room")
    guard let base = room.baseAddress, text.count > 0 else { return 0 }
    let count = text.count
    return unsafe text.withUnsafeBufferPointer { source -> Int in
        guard let input = source.baseAddress else { return 0 }
        let start = unsafe base + filled
        var output = unsafe start
        var index = 0
        let feed = ByteVector(repeating: .lf)
        let nul = ByteVector()
        while index < count {
            var special = count
            // Copies whole blocks, and of the last one a bit more than counts.
            while index &+ 32 <= count {
                let block = unsafe UnsafeRawPointer(input + index)
                    .loadUnaligned(as: ByteVector.self)
                unsafe UnsafeMutableRawPointer(output).storeBytes(of: block, as: ByteVector.self)
                let hits = (block .== feed) .| (block .== nul)
                if let lane = hits.firstLane {
                    unsafe output += lane
                    special = index &+ lane
                    break
                }
                unsafe output += 32
                index &+= 32
            }
            if special == count {
                while index < count {
                    let byte = unsafe input[index]
                    if byte == .lf || byte == 0 {
                        special = index
                        break
                    }
                    unsafe output.pointee = byte
                    unsafe output += 1
                    index &+= 1
                }
                if special == count { break }
            }
            index = special
            if unsafe input[index] == .lf {
                let isBare = unsafe index == 0 ? !followsCR : input[index &- 1] != .cr
                if isBare {
                    unsafe output.pointee = .cr
                    unsafe output += 1
                }
                unsafe output.pointee = .lf
            } else {
                unsafe output.pointee = substitute
            }
            unsafe output += 1
            index &+= 1
        }
        return unsafe output - start
    }
}
