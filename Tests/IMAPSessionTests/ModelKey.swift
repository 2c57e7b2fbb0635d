//  A search key as text, and what it finds as the model has it

struct ModelKey {
    var text: String
    /// Asked with the message and its sequence number.
    var matches: @Sendable (ModelClient.Message, Int) -> Bool

    /// What differs between clients and mailboxes.
    struct Bounds {
        var uids: [UInt32]
        var modseqs: [UInt64]
        /// Zero where sequence numbers may not be used.
        var count: Int
    }

    static func random(_ bounds: Bounds, _ random: inout SeededGenerator, depth: Int = 2) -> Self {
        switch Int.random(in: 0..<(depth > 0 ? 8 : 4), using: &random) {
        case 4:
            let (left, right) = pair(bounds, &random, depth)
            return Self(text: "OR \(left.text) \(right.text)") {
                left.matches($0, $1) || right.matches($0, $1)
            }
        case 5:
            let (left, right) = pair(bounds, &random, depth)
            return Self(text: "(\(left.text) \(right.text))") {
                left.matches($0, $1) && right.matches($0, $1)
            }
        case 6:
            let key = Self.random(bounds, &random, depth: depth - 1)
            return Self(text: "NOT \(key.text)") { !key.matches($0, $1) }
        case 0, 7: return flag(&random)
        default: return leaf(bounds, &random)
        }
    }

    private static func pair(
        _ bounds: Bounds,
        _ random: inout SeededGenerator,
        _ depth: Int
    ) -> (Self, Self) {
        let left = Self.random(bounds, &random, depth: depth - 1)
        return (left, Self.random(bounds, &random, depth: depth - 1))
    }

    private static func flag(_ random: inout SeededGenerator) -> Self {
        let name = ["Seen", "Flagged", "Answered", "Draft", "Deleted", "$one", "$two"]
            .randomElement(using: &random)
        let word = name ?? "Seen"
        let isSet = Bool.random(using: &random)
        let un = isSet ? "" : "UN"
        guard !word.hasPrefix("$") else {
            return Self(text: "\(un)KEYWORD \(word)") { message, _ in
                message.flags?.contains(word) == isSet
            }
        }
        return Self(text: un + word.uppercased()) { message, _ in
            message.flags?.contains("\\" + word) == isSet
        }
    }

    private static func leaf(_ bounds: Bounds, _ random: inout SeededGenerator) -> Self {
        let uid = bounds.uids.randomElement(using: &random) ?? 1
        let span = UInt32.random(in: 0...4, using: &random)
        let size = Int.random(in: 15...45, using: &random)
        let word = ["m", "a", "1", "ET"].randomElement(using: &random) ?? "m"
        switch Int.random(in: 0..<6, using: &random) {
        case 0: return Self(text: "ALL") { _, _ in true }
        case 1:
            return Self(text: "UID \(uid):\(uid + span)") { message, _ in
                (uid...(uid + span)).contains(message.uid ?? 0)
            }
        case 2 where bounds.count > 0:
            let last = Int.random(in: 1...bounds.count, using: &random)
            return Self(text: "1:\(last)") { _, number in number <= last }
        case 3: return Self(text: "LARGER \(size)") { message, _ in message.size ?? 0 > size }
        case 4 where !bounds.modseqs.isEmpty:
            let modseq = bounds.modseqs.randomElement(using: &random) ?? 1
            return Self(text: "MODSEQ \(modseq)") { message, _ in message.modseq ?? 0 >= modseq }
        default:
            return Self(text: "SUBJECT \(word)") { message, _ in
                (message.subject ?? "").lowercased().contains(word.lowercased())
            }
        }
    }
}
