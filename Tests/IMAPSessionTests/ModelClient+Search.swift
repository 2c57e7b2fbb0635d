import Posix

@testable import IMAPSession

extension ModelClient {
    /// A SEARCH or SORT that runs.
    struct Search {
        var isUID: Bool
        var key: ModelKey
        /// Words of RETURN; nil without it.
        var options: [String]?

        var isSaving: Bool { options?.contains("SAVE") ?? false }
        var isUpdating: Bool { options?.contains("UPDATE") ?? false }
    }

    /// A result that is kept up to date.                                         RFC 5267 §4.3
    struct Context {
        let tag: String
        let isUID: Bool
        let key: ModelKey
        /// UIDs, or `Message.id` where it tells sequence numbers.
        var members: Set<Int>
        /// Sequence numbers were vanished whose UIDs the client did not know.
        var isLost = false

        func name(of message: Message) -> Int? { isUID ? message.uid.map(Int.init) : message.id }
        func holds(_ message: Message) -> Bool {
            !isLost && name(of: message).map(members.contains) ?? false
        }
    }

    /// - Parameter before: what stands before the key: the SORT program and charset.
    func search(_ search: Search, sort before: String? = nil) {
        var text = search.isUID ? "UID " : ""
        text += before == nil ? "SEARCH" : "SORT"
        if let options = search.options { text += " RETURN (\(options.joined(separator: " ")))" }
        if let before { text += " " + before }
        send("\(text) \(search.key.text)", search.isUID ? .free : .fixed)
        self.search = search
    }

    func searched(_ text: String) {
        guard var told = SearchAnswer(text) else { return violation("odd: \(text)") }
        if told.tag == nil { told.isUID = search?.isUID ?? false }
        for number in told.named where !isNumbered(number, told.isUID) {
            violation("a result that it was not told of: \(text)")
        }
        if !told.updates.isEmpty { return update(told) }
        guard let search, answer == nil, told.tag == nil || told.tag == tag else {
            return violation("not asked for: \(text)")
        }
        answer = told
        if search.isUID != told.isUID { violation("UID or not: \(text)") }
        let names = (told.all ?? []).map { name($0, search.isUID) }
        if search.isSaving {
            // A UID that the client has not seen yet is a message that it cannot tell.
            saved = nil
            if search.options?.contains("ALL") ?? false, !names.contains(nil) {
                saved = Set(names.compactMap { $0 })
            }
        }
        guard search.isUpdating else { return }
        let members = search.isUID ? (told.all ?? []).map { Int($0) } : names.compactMap { $0 }
        contexts.append(
            Context(tag: tag, isUID: search.isUID, key: search.key, members: Set(members))
        )
    }

    private func isNumbered(_ number: UInt32, _ isUID: Bool) -> Bool {
        isUID ? index(of: number) != nil : number > 0 && number <= messages.count
    }

    /// The id of a message that a result names.
    private func name(_ number: UInt32, _ isUID: Bool) -> Int? {
        guard isUID else {
            return number > 0 && number <= messages.count ? messages[Int(number) - 1].id : nil
        }
        return messages.first { $0.uid == number }?.id
    }

    /// ADDTO and REMOVEFROM.                                             RFC 5267 §4.3.2, §4.3.3
    private func update(_ told: SearchAnswer) {
        guard let place = contexts.firstIndex(where: { $0.tag == told.tag }) else {
            return violation("an update of \(told.tag ?? "nothing")")
        }
        guard !contexts[place].isLost else { return }
        for update in told.updates {
            for number in update.numbers {
                guard let name = told.isUID ? Int(number) : name(number, false) else { continue }
                if update.isAdding {
                    if !contexts[place].members.insert(name).inserted {
                        violation("\(number) joins \(contexts[place].tag) again")
                    }
                } else if contexts[place].members.remove(name) == nil {
                    violation("\(number) leaves \(contexts[place].tag), in which it is not")
                }
            }
        }
    }

    /// Which of the messages it was whose UIDs it does not know, the client can only guess.
    func loseNumbered() {
        saved = nil
        for place in contexts.indices where !contexts[place].isUID { contexts[place].isLost = true }
    }

    func searchEnded(_ search: Search, _ isOK: Bool) {
        // RFC 5182 §2.1: the result of a search that fails is empty.
        if search.isSaving { if !isOK { saved = [] } else if answer == nil { saved = nil } }
        if isOK, answer == nil, search.options != ["SAVE"] { violation("no result") }
    }

    func cancelUpdate() {
        guard let context = contexts.last else { return }
        // What is on its way may still come until it is answered.
        send("CANCELUPDATE \"\(context.tag)\"", .free)
        cancelling = context.tag
    }
}

/// What a SEARCH, SORT or ESEARCH response says.                                   RFC 4731 §3.1
struct SearchAnswer {
    struct Update {
        var isAdding: Bool
        var numbers: [UInt32]
    }

    var tag: String?
    var isUID = false
    var min: UInt32?
    var max: UInt32?
    var count: Int?
    var all: [UInt32]?
    var partial: [UInt32]?
    var updates: [Update] = []

    /// All messages that are told to be there.
    var named: [UInt32] {
        [min, max].compactMap { $0 } + (all ?? []) + (partial ?? []) + updates.flatMap(\.numbers)
    }

    init?(_ text: String) {
        var words = text.split { " ()".contains($0) }.dropFirst()
        guard words.popFirst() == "ESEARCH" else {
            // What follows MODSEQ is no message.
            all = words.prefix { $0 != "MODSEQ" }.compactMap { UInt32($0) }
            return
        }
        while let word = words.popFirst() {
            switch word {
            case "TAG": tag = words.popFirst().map { String($0.dropFirst().dropLast()) }
            case "UID": isUID = true
            case "MIN": min = words.popFirst().flatMap { UInt32($0) }
            case "MAX": max = words.popFirst().flatMap { UInt32($0) }
            case "COUNT": count = words.popFirst().flatMap { Int($0) }
            case "MODSEQ": words.removeFirst()
            case "ALL": all = words.popFirst().map(Self.numbers)
            case "PARTIAL":
                words.removeFirst()
                partial = words.popFirst().map { $0 == "NIL" ? [] : Self.numbers($0) }
            case "ADDTO", "REMOVEFROM":
                while words.first == "0" {
                    words.removeFirst()
                    let numbers = words.popFirst().map(Self.numbers) ?? []
                    updates.append(Update(isAdding: word == "ADDTO", numbers: numbers))
                }
            default: return nil
            }
        }
    }

    /// In the order in which they stand.
    static func numbers(_ set: Substring) -> [UInt32] {
        set.split(separator: ",").flatMap { range in
            let ends = range.split(separator: ":").compactMap { UInt32($0) }
            guard let first = ends.first, let last = ends.last else { return [UInt32]() }
            return first <= last ? Array(first...last) : Array((last...first).reversed())
        }
    }
}

extension String {
    private func rest(after key: String) -> Substring.UTF8View? {
        let text = utf8
        let key = Array(key.utf8)
        var start = text.startIndex
        while let found = text[start...].firstIndex(of: key[0]) {
            let rest = text[found...]
            if rest.starts(with: key) { return rest.dropFirst(key.count) }
            start = text.index(after: found)
        }
        return nil
    }

    /// The number that follows the key where that first stands.
    func number(after key: String) -> UInt64? {
        rest(after: key).flatMap { rest in
            UInt64(Substring(rest.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }))
        }
    }

    /// What follows the key up to the next parenthesis.
    func list(after key: String) -> Substring? {
        rest(after: key).map { Substring($0.prefix { $0 != UInt8(ascii: ")") }) }
    }
}
