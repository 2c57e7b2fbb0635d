package import Bytes

/// What stands in brackets before the text of a status response.
package enum ResponseCode: Hashable, Sendable {
    // RFC 9051 §7.1 and RFC 3501 §7.1
    /// The charsets that would do; may be empty.
    case badCharset([[UInt8]])
    case capability(CapabilityList)
    /// With `allowsNew`, `\*`.
    case permanentFlags([Flag], allowsNew: Bool)
    case readOnly
    case readWrite
    case tryCreate
    case uidNext(UID)
    case uidValidity(UIDValidity)
    /// The first unseen message; rev1 only.
    case unseen(SequenceNumber)
    case unknownCTE
    case hasChildren
    case closed

    // RFC 4315 §3; the ranges ascending
    case appendUID(UIDValidity, [ClosedRange<UInt32>])
    /// As many on each side, in the same order.
    case copyUID(UIDValidity, from: [ClosedRange<UInt32>], to: [ClosedRange<UInt32>])

    // RFC 5530 §3; what is said before login stands in IMAPLogin.
    case unavailable
    case noPermission
    case inUse
    case expungeIssued
    case corruption
    case clientBug
    case cannot
    case limit
    case overQuota
    case alreadyExists
    case nonexistent

    // Extensions
    case highestModSeq(ModSeq)
    case noModSeq
    /// What UNCHANGEDSINCE kept from change: sequence numbers or UIDs, as in the command.
    case modified([ClosedRange<UInt32>])
    case useAttribute
    case tooBig
    case badURL([UInt8])
    /// The size of the largest annotation left out.
    case metadataLongEntries(UInt32)
    case metadataMaxSize(UInt32)
    case metadataTooMany
    case notificationOverflow
    /// The events that we know.
    case badEvent
    /// The tag, and the state of the work where known: done, of how many.
    case inProgress(tag: [UInt8], done: UInt32?, goal: UInt32?)
    case mailboxID([UInt8])
    case uidRequired
    case noUpdate(tag: [UInt8])

    /// It is about a set of messages, and the set is empty: there is no way to write it, and nothing
    /// to say.
    var namesNothing: Bool {
        switch self {
        case .appendUID(_, let uids): uids.isEmpty
        case .copyUID(_, let from, let to): from.isEmpty || to.isEmpty
        case .modified(let set): set.isEmpty
        default: false
        }
    }

    package func write(to output: inout ByteBuffer) {
        output.append(UInt8(ascii: "["))
        switch self {
        case .badCharset(let charsets):
            output.append("BADCHARSET")
            if !charsets.isEmpty {
                output.append(" (")
                for (index, charset) in charsets.enumerated() {
                    if index > 0 { output.append(.space) }
                    output.append(charset)
                }
                output.append(UInt8(ascii: ")"))
            }
        case .capability(let list):
            output.append("CAPABILITY")
            list.write(to: &output)
        case .permanentFlags(let flags, let allowsNew):
            output.append("PERMANENTFLAGS ")
            output.append(flagList: flags, with: allowsNew ? "\\*" : nil)
        case .readOnly: output.append("READ-ONLY")
        case .readWrite: output.append("READ-WRITE")
        case .tryCreate: output.append("TRYCREATE")
        case .uidNext(let uid): output.append("UIDNEXT ", uid.value)
        case .uidValidity(let validity): output.append("UIDVALIDITY ", validity.value)
        case .unseen(let number): output.append("UNSEEN ", number.value)
        case .unknownCTE: output.append("UNKNOWN-CTE")
        case .hasChildren: output.append("HASCHILDREN")
        case .closed: output.append("CLOSED")
        case .appendUID(let validity, let uids):
            output.append("APPENDUID ", validity.value)
            output.append(.space)
            output.append(set: uids)
        case .copyUID(let validity, let from, let to):
            output.append("COPYUID ", validity.value)
            output.append(.space)
            output.append(set: from)
            output.append(.space)
            output.append(set: to)
        case .unavailable: output.append("UNAVAILABLE")
        case .noPermission: output.append("NOPERM")
        case .inUse: output.append("INUSE")
        case .expungeIssued: output.append("EXPUNGEISSUED")
        case .corruption: output.append("CORRUPTION")
        case .clientBug: output.append("CLIENTBUG")
        case .cannot: output.append("CANNOT")
        case .limit: output.append("LIMIT")
        case .overQuota: output.append("OVERQUOTA")
        case .alreadyExists: output.append("ALREADYEXISTS")
        case .nonexistent: output.append("NONEXISTENT")
        case .highestModSeq(let modSeq): output.append("HIGHESTMODSEQ ", modSeq.value)
        case .noModSeq: output.append("NOMODSEQ")
        case .modified(let set):
            output.append("MODIFIED ")
            output.append(set: set)
        case .useAttribute: output.append("USEATTR")
        case .tooBig: output.append("TOOBIG")
        case .badURL(let url):
            output.append("BADURL ")
            output.append(responseText: url)
        case .metadataLongEntries(let size): output.append("METADATA LONGENTRIES ", size)
        case .metadataMaxSize(let size): output.append("METADATA MAXSIZE ", size)
        case .metadataTooMany: output.append("METADATA TOOMANY")
        case .notificationOverflow: output.append("NOTIFICATIONOVERFLOW")
        case .badEvent:
            output.append("BADEVENT (MessageNew MessageExpunge FlagChange MailboxName")
            output.append(" SubscriptionChange MailboxMetadataChange ServerMetadataChange)")
        case .inProgress(let tag, let done, let goal):
            output.append("INPROGRESS (")
            // RFC 9585 §4: a bracket in the tag would end the code.
            if tag.contains(UInt8(ascii: "]")) {
                output.append("NIL")
            } else {
                output.append(quoted: tag)
            }
            output.append(.space)
            if let done { output.append(decimal: done) } else { output.append("NIL") }
            output.append(.space)
            // RFC 9585 §4: a goal only with a state, and above it.
            if let done, let goal, goal > done {
                output.append(decimal: goal)
            } else {
                output.append("NIL")
            }
            output.append(UInt8(ascii: ")"))
        case .mailboxID(let id):
            output.append("MAILBOXID (")
            output.append(id)
            output.append(UInt8(ascii: ")"))
        case .uidRequired: output.append("UIDREQUIRED")
        case .noUpdate(let tag):
            output.append("NOUPDATE ")
            output.append(quoted: tag)
        }
        output.append(UInt8(ascii: "]"))
    }
}
