import Bytes

/// Finds the end of each line where commands do not come: SASL responses, and DONE of IDLE.
package struct LineFramer: Sendable {
    package enum Event: Hashable, Sendable {
        case needsMore
        /// The first `textCount` bytes are the line without its end; consume `count`.
        case line(textCount: Int, count: Int)
        /// No end within the limit. End the connection: where the next line begins is not known.
        case tooLong
    }

    private let lineBytesMax: Int
    private var scanned = 0

    /// `lineBytesMax` counts the line's end as well.
    package init(lineBytesMax: Int) { self.lineBytesMax = lineBytesMax }

    package mutating func next(_ input: Span<UInt8>) -> Event {
        let bound = min(input.count, lineBytesMax)
        while scanned < bound, input[scanned] != .lf { scanned += 1 }
        guard scanned < bound else { return scanned < lineBytesMax ? .needsMore : .tooLong }
        let end = scanned
        scanned = 0
        let textEnd = end > 0 && input[end - 1] == .cr ? end - 1 : end
        return .line(textCount: textEnd, count: end + 1)
    }
}
