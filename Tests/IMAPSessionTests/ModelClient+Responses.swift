import Posix

@testable import IMAPSession

extension ModelClient {
    func take(_ line: ResponseLine) {
        let text = String(decoding: line.texts[0], as: UTF8.self)
        let words = text.split(separator: " ", maxSplits: 3).map(String.init)
        if words[0] == "+" { return }
        if isLeaving {
            if text.hasPrefix("* OK [CLOSED]") { isLeaving = false }
            if words[0] == "*", words[1] != "STATUS" { return }
            isLeaving = false
        }
        takeCode(text)
        if words[0] == tag, kind != nil { return tagged(text) }
        guard words[0] == "*", words.count > 1 else { return violation("unknown: \(text)") }
        if kind == nil, !modes.hasNotify { violation("without a command: \(text)") }
        switch words[1] {
        case "VANISHED": return vanished(text)
        case "SEARCH", "SORT", "ESEARCH": return searched(text)
        case "STATUS": return status(text)
        default: break
        }
        guard let number = Int(words[1]), words.count > 2 else { return }
        switch words[2] {
        case "EXISTS": exists(number)
        case "EXPUNGE": expunge(number)
        case "FETCH":
            if modes.contains(.uidOnly) { violation("FETCH in UIDONLY: \(text)") }
            if kind == .select {
                fetchedInSelect.append((number, line))
            } else {
                fetch(number, line)
            }
        case "UIDFETCH":
            if !modes.contains(.uidOnly) { violation("UIDFETCH without UIDONLY: \(text)") }
            uidFetch(UInt32(number), line)
        case "RECENT": if modes.contains(.rev2) { violation("RECENT in rev2") }
        default: break
        }
    }

    func takeCode(_ text: String) {
        if text.contains(" OK [HIGHESTMODSEQ ") {
            let value = text.number(after: "HIGHESTMODSEQ ") ?? 0
            if !modes.hasModseqs, kind != .select { violation("HIGHESTMODSEQ, not asked for") }
            if kind == .select, let cache, value < cache.highestModseq {
                violation("HIGHESTMODSEQ \(value) went back from \(cache.highestModseq)")
            }
            toldModseq = value
        } else if text.hasPrefix("* OK [UIDVALIDITY ") {
            uidValidity = text.number(after: "UIDVALIDITY ").map(String.init) ?? ""
            if let cache, cache.uidValidity != uidValidity {
                violation("UIDVALIDITY \(uidValidity) was \(cache.uidValidity)")
            }
        } else if text.contains("[NOMODSEQ]") {
            violation("NOMODSEQ")
        }
    }

    func newMessage(_ uid: UInt32? = nil) -> Message {
        idCount += 1
        return Message(id: idCount, uid: uid)
    }

    func exists(_ number: Int) {
        if kind == .select { existsInSelect = number }
        if number < messages.count { violation("EXISTS shrinks to \(number)") }
        while messages.count < number { messages.append(newMessage()) }
    }

    func expunge(_ number: Int) {
        if modes.hasVanished { violation("EXPUNGE after QRESYNC or UIDONLY") }
        if kind == .fixed, !modes.contains(.notify) {
            violation("EXPUNGE while numbers are in use")
        }
        guard number >= 1, number <= messages.count else {
            return violation("EXPUNGE \(number) of \(messages.count)")
        }
        remove(number - 1)
    }

    func vanished(_ text: String) {
        let isEarlier = text.hasPrefix("* VANISHED (EARLIER) ")
        let set = text.split(separator: " ").last ?? ""
        for range in set.split(separator: ",") {
            let ends = range.split(separator: ":").compactMap { UInt32($0) }
            guard let first = ends.first, let last = ends.last, first > 0, first <= last else {
                return violation("odd set: \(text)")
            }
            if isEarlier {
                guard last - first < 1_000_000 else { return violation("too much: \(text)") }
                earlier.formUnion(first...last)
                continue
            }
            if !modes.hasVanished { violation("VANISHED, not asked for") }
            if kind == .fixed, !modes.contains(.notify) {
                violation("VANISHED while numbers are in use")
            }
            for uid in first...last {
                guard let index = index(of: uid) else {
                    violation("VANISHED \(uid), which it was not told of: \(messages.map(\.uid))")
                    continue
                }
                vanishedSince[uid] = believedModseq
                if messages[index].uid == nil { loseNumbered() }
                messages[index].uid = uid
                remove(index)
            }
        }
        if isEarlier, kind != .select {
            let visible = messages.compactMap(\.uid).filter { earlier.contains($0) }
            if !visible.isEmpty { violation("EARLIER of what it numbers: \(visible)") }
        }
    }

    /// An expunge; what it leaves had to leave before.                         RFC 5267 §4.3.4
    func remove(_ index: Int) {
        let message = messages.remove(at: index)
        for context in contexts where context.holds(message) {
            violation("\(message) is expunged and still in the result of \(context.tag)")
        }
    }

    /// Where a UID is; a message whose UID was not known yet may be it.
    func index(of uid: UInt32) -> Int? {
        if let index = messages.firstIndex(where: { $0.uid == uid }) { return index }
        var low: UInt32 = 0
        for index in messages.indices {
            if let known = messages[index].uid {
                low = known
                continue
            }
            let next = messages[index...].first { $0.uid != nil }?.uid ?? .max
            if modes.contains(.uidOnly) || low < uid && uid < next { return index }
        }
        return nil
    }

    func uidFetch(_ uid: UInt32, _ line: ResponseLine) {
        if let index = messages.firstIndex(where: { $0.uid == uid }) {
            return fetch(index + 1, line)
        }
        if kind == .select {
            // Told before the messages are put together.
            return fetchedInSelect.append((Int(uid), line))
        }
        guard let index = messages.firstIndex(where: { $0.uid == nil }) else {
            return violation("UIDFETCH of \(uid), which it was not told of")
        }
        // Without sequence numbers the order is that of the UIDs.
        messages[index].uid = uid
        let message = messages.remove(at: index)
        let place = messages.firstIndex { $0.uid == nil || $0.uid ?? 0 > uid } ?? messages.count
        messages.insert(message, at: place)
        fetch(place + 1, line)
    }

    func fetch(_ number: Int, _ line: ResponseLine) {
        guard number >= 1, number <= messages.count else {
            return violation("FETCH \(number) of \(messages.count)")
        }
        let text = String(decoding: line.texts.joined(), as: UTF8.self)
        let index = number - 1
        if let value = text.number(after: "(UID ") ?? text.number(after: " UID "),
            let uid = UInt32(exactly: value)
        {
            if let known = messages[index].uid, known != uid {
                violation("message \(number) was UID \(known), is \(uid)")
            }
            messages[index].uid = uid
        }
        fetched.insert(messages[index].id)
        if let size = text.number(after: "RFC822.SIZE ") { messages[index].size = Int(size) }
        if text.contains("HEADER.FIELDS (SUBJECT)"), let header = line.literals.first {
            let lines = String(decoding: header, as: UTF8.self).split(separator: "\r\n")
            messages[index].subject = lines.first.map { String($0.dropFirst("Subject: ".count)) }
        }
        let modseq = text.number(after: "MODSEQ (")
        let oldModseq = messages[index].modseq
        if let modseq {
            if !modes.hasModseqs { violation("MODSEQ, not asked for: \(text)") }
            if modseq == 0 || modseq < oldModseq ?? 0 {
                violation("MODSEQ went back from \(oldModseq ?? 0): \(text)")
            }
            seenModseq = max(seenModseq, modseq)
            messages[index].modseq = modseq
            if modseq != oldModseq { messages[index].isStale = true }
        }
        guard let list = text.list(after: "FLAGS (") else { return }
        if modes.hasModseqs, modseq == nil { violation("FLAGS without MODSEQ: \(text)") }
        var flags = Set(list.split(separator: " ").map(String.init))
        messages[index].isRecent = flags.remove("\\Recent") != nil
        if modes.contains(.rev2), messages[index].isRecent { violation("\\Recent in rev2") }
        // A message that is gone, and told as such later, has the flags that it went with.
        if let modseq, modseq == oldModseq, !messages[index].isStale,
            let old = messages[index].flags, old != flags,
            flags != ["\\Deleted"]
        {
            violation("other flags with the same MODSEQ, were \(old): \(text)")
        }
        messages[index].flags = flags
        messages[index].isStale = false
        fetchedMeanwhile.insert(messages[index].id)
    }

    func tagged(_ text: String) {
        lastTagged = text
        let isOK = text.hasPrefix("\(tag) OK")
        if text.hasPrefix("\(tag) BAD") { violation("BAD: \(text)") }
        // With NOTIFY an expunge may have been told after the client named the message.
        let isToldGone = modes.contains(.notify) && text.contains("[NONEXISTENT]")
        if text.hasPrefix("\(tag) NO"), !text.contains("EXPUNGEISSUED"),
            !text.contains("[MODIFIED "), !isToldGone
        {
            violation(text)
        }
        if kind == .select, isOK {
            if let cache, modes.contains(.quickResync), command.contains("QRESYNC") {
                if modes.contains(.uidOnly) { takeUIDOnly(cache) } else { takeResync(cache) }
            }
        }
        if let silent {
            let ids = Set(silent.ids)
            for index in messages.indices where ids.contains(messages[index].id) {
                let isKnown = isOK && !text.contains("[MODIFIED ")
                if fetchedMeanwhile.contains(messages[index].id) {
                    // Told with its flags: of before or after the change, and with its MODSEQ. A later
                    // MODSEQ without flags is that of the change.
                    if !modes.hasModseqs {
                        messages[index].flags = nil
                    } else if messages[index].isStale {
                        messages[index].flags =
                            isKnown ? messages[index].flags.map(silent.change) : nil
                        messages[index].isStale = false
                    }
                } else {
                    messages[index].flags =
                        isKnown ? messages[index].flags.map(silent.change) : nil
                    messages[index].isStale = false
                }
            }
        }
        // RFC 7162 §6
        if let toldModseq {
            believedModseq = toldModseq
        } else {
            believedModseq = max(believedModseq, seenModseq)
        }
        toldModseq = nil
        seenModseq = 0
        silent = nil
        kind = nil
        if let search { searchEnded(search, isOK) }
        search = nil
        if let cancelling { contexts.removeAll { $0.tag == cancelling } }
        cancelling = nil
    }

    func takeUIDOnly(_ cache: Cache) {
        let lines = fetchedInSelect
        fetchedInSelect = []
        takeResync(cache)
        kind = .free
        for (uid, line) in lines { uidFetch(UInt32(uid), line) }
    }
}
