/// In which part of a connection's life a command may come.                  RFC 9051 §3
package enum RequiredState: Hashable, Sendable {
    case any
    case notAuthenticated
    /// Authenticated, with or without a mailbox selected.
    case authenticated
    case selected
}

//  The rules of the protocol as data, so that the session's loop enforces them, and not each
//  command. No `default:`: a new command must answer each question.
extension CommandBody {
    package var requiredState: RequiredState {
        switch self {
        case .capability, .noop, .logout, .id, .language: .any
        case .startTLS, .authenticate, .login: .notAuthenticated
        case .enable, .select, .create, .delete, .rename, .subscribe, .unsubscribe, .list, .lsub,
            .namespace, .status, .append, .idle, .compress, .getQuota, .getQuotaRoot, .setQuota,
            .setACL, .deleteACL, .getACL, .listRights, .myRights, .getMetadata, .setMetadata,
            .notify, .unauthenticate:
            .authenticated
        // RFC 7377 §2.2
        case .multiSearch(let command):
            command.sources.isEmpty || command.sources.contains(.selected)
                ? .selected : .authenticated
        case .check, .close, .unselect, .expunge, .uidExpunge, .search, .sort, .thread, .fetch,
            .store, .copy, .move, .replace, .cancelUpdate:
            .selected
        }
    }

    /// An EXPUNGE sent while one of these runs would renumber the messages it names by sequence
    /// number, or which its answer names so. The session holds EXPUNGE back until it completes.
    /// The UID forms are free,                                              RFC 9051 §7.5.1
    /// but VANISHED never comes with a UID SEARCH whose keys have sequence numbers, and what
    /// holds for VANISHED is kept for EXPUNGE as well.                       RFC 7162 §3.2.10.2
    package var forbidsExpunge: Bool {
        switch self {
        case .fetch(let command): command.kind == .sequenceNumber
        case .store(let command): command.kind == .sequenceNumber
        case .search, .sort, .thread, .multiSearch: namesSequenceNumbers
        case .capability, .noop, .logout, .id, .startTLS, .authenticate, .login, .enable,
            .select, .create, .delete, .rename, .subscribe, .unsubscribe, .list, .lsub,
            .namespace, .status, .append, .idle, .compress, .getQuota, .getQuotaRoot, .setQuota,
            .setACL, .deleteACL, .getACL, .listRights, .myRights, .getMetadata, .setMetadata,
            .notify, .language, .unauthenticate, .check, .close, .unselect, .expunge, .uidExpunge,
            .copy, .move, .replace, .cancelUpdate:
            false
        }
    }

    /// Whether the command came as `UID …`, so that its answers carry UIDs.
    package var isUIDForm: Bool {
        switch self {
        case .uidExpunge: true
        case .fetch(let command): command.kind == .uid
        case .store(let command): command.kind == .uid
        case .search(let command): command.kind == .uid
        case .sort(let command): command.kind == .uid
        case .thread(let command): command.kind == .uid
        case .copy(let kind, _, _), .move(let kind, _, _), .replace(let kind, _, _): kind == .uid
        case .capability, .noop, .logout, .id, .startTLS, .authenticate, .login, .enable,
            .select, .create, .delete, .rename, .subscribe, .unsubscribe, .list, .lsub,
            .namespace, .status, .append, .idle, .compress, .getQuota, .getQuotaRoot, .setQuota,
            .setACL, .deleteACL, .getACL, .listRights, .myRights, .getMetadata, .setMetadata,
            .notify, .language, .multiSearch, .unauthenticate, .check, .close, .unselect,
            .expunge, .cancelUpdate:
            false
        }
    }

    /// Whether it names messages by sequence number, which a session in UIDONLY mode answers
    /// BAD [UIDREQUIRED]. SEARCH by itself does not; its keys may.           RFC 9586 §3
    package var namesSequenceNumbers: Bool {
        switch self {
        case .fetch(let command): command.kind == .sequenceNumber
        case .store(let command): command.kind == .sequenceNumber
        case .search(let command):
            command.kind == .sequenceNumber || command.key.namesSequenceNumbers
        case .sort(let command):
            command.kind == .sequenceNumber || command.key.namesSequenceNumbers
        case .thread(let command):
            command.kind == .sequenceNumber || command.key.namesSequenceNumbers
        case .multiSearch(let command): command.key.namesSequenceNumbers
        case .copy(let kind, _, _), .move(let kind, _, _), .replace(let kind, _, _):
            kind == .sequenceNumber
        case .select(let command): command.quickResync?.matchSequence != nil
        case .capability, .noop, .logout, .id, .startTLS, .authenticate, .login, .enable,
            .create, .delete, .rename, .subscribe, .unsubscribe, .list, .lsub, .namespace,
            .status, .append, .idle, .compress, .getQuota, .getQuotaRoot, .setQuota, .setACL,
            .deleteACL, .getACL, .listRights, .myRights, .getMetadata, .setMetadata, .notify,
            .language, .unauthenticate, .check, .close, .unselect, .expunge, .uidExpunge,
            .cancelUpdate:
            false
        }
    }

    /// Whether it changes the selected mailbox, which EXAMINE forbids: NO [READ-ONLY] is the
    /// session's answer. CLOSE is not among them: under EXAMINE it just does not expunge.
    package var changesSelectedMailbox: Bool {
        switch self {
        case .expunge, .uidExpunge, .store, .move, .replace: true
        case .capability, .noop, .logout, .id, .startTLS, .authenticate, .login, .enable,
            .select, .create, .delete, .rename, .subscribe, .unsubscribe, .list, .lsub,
            .namespace, .status, .append, .idle, .compress, .getQuota, .getQuotaRoot, .setQuota,
            .setACL, .deleteACL, .getACL, .listRights, .myRights, .getMetadata, .setMetadata,
            .notify, .language, .multiSearch, .unauthenticate, .check, .close, .unselect,
            .search, .sort, .thread, .fetch, .copy, .cancelUpdate:
            false
        }
    }
}

extension CommandBody {
    /// Whether EXPUNGE responses are what it asks for.
    package var expunges: Bool {
        switch self {
        case .expunge, .uidExpunge, .move, .replace: true
        default: false
        }
    }
}

extension SearchKey {
    /// Whether a key names messages by sequence number.
    package var namesSequenceNumbers: Bool {
        switch self {
        case .sequence(let set): !set.ranges.isEmpty
        case .and(let keys), .or(let keys): keys.contains(where: \.namesSequenceNumbers)
        case .not(let key), .fuzzy(let key): key.namesSequenceNumbers
        case .all, .uid, .uidAfter, .uidBefore, .flag, .recent, .internalDate, .sentDate, .saveDate,
            .saveDateSupported,
            .from, .to, .cc, .bcc, .subject, .header, .body, .text, .larger, .smaller, .older,
            .younger, .modSeq, .emailID, .threadID:
            false
        }
    }
}
