package import Bytes

/// One word of the CAPABILITY answer.
package enum Capability: Hashable, Sendable {
    case imap4rev1, imap4rev2
    case startTLS, loginDisabled, authPlain, authLogin, saslIR
    case literalPlus, literalMinus, id, enable
    case idle, namespace, unselect, uidPlus, move, children, specialUse, createSpecialUse
    case listExtended, listStatus, listMetadata, listMyRights, statusSize
    case eSearch, searchRes, within, searchContext, sortContext, multiSearch, searchFuzzy
    case sort, sortDisplay, eSort, threadOrderedSubject, threadReferences, threadRefs
    case i18nLevel1
    case condStore, quickResync, notify, uidOnly, objectID, saveDate, partial, inProgress
    case binary, multiAppend, catenate, replace, preview, utf8Accept
    case compressDeflate, unauthenticate, language, metadata, metadataServer
    case quota, quotaStorage, quotaMessage, quotaSet
    case acl
    /// The rights of RFC 4314 §5, `RIGHTS=texk`.
    case rights
    /// With a number where the limit is one for all mailboxes.
    case appendLimit(UInt64?)
    case messageLimit(UInt32)

    package func write(to output: inout ByteBuffer) {
        switch self {
        case .appendLimit(let limit):
            output.append("APPENDLIMIT")
            if let limit {
                output.append(UInt8(ascii: "="))
                output.append(decimal: limit)
            }
        case .messageLimit(let limit):
            output.append("MESSAGELIMIT=")
            output.append(decimal: limit)
        case .imap4rev1, .imap4rev2, .startTLS, .loginDisabled, .authPlain, .authLogin, .saslIR,
            .literalPlus, .literalMinus, .id, .enable, .idle, .namespace, .unselect, .uidPlus,
            .move, .children, .specialUse, .createSpecialUse, .listExtended, .listStatus,
            .listMetadata, .listMyRights, .statusSize, .eSearch, .searchRes, .within,
            .searchContext, .sortContext, .multiSearch, .searchFuzzy, .sort, .sortDisplay,
            .eSort, .threadOrderedSubject, .threadReferences, .threadRefs, .i18nLevel1,
            .condStore, .quickResync, .notify, .uidOnly, .objectID, .saveDate, .partial,
            .inProgress, .binary, .multiAppend, .catenate, .replace, .preview, .utf8Accept,
            .compressDeflate, .unauthenticate, .language, .metadata, .metadataServer, .quota,
            .quotaStorage, .quotaMessage, .quotaSet, .acl, .rights:
            output.append(name)
        }
    }

    /// The word, without the number that some have.
    package var name: StaticString {
        switch self {
        case .imap4rev1: "IMAP4rev1"
        case .imap4rev2: "IMAP4rev2"
        case .startTLS: "STARTTLS"
        case .loginDisabled: "LOGINDISABLED"
        case .authPlain: "AUTH=PLAIN"
        case .authLogin: "AUTH=LOGIN"
        case .saslIR: "SASL-IR"
        case .literalPlus: "LITERAL+"
        case .literalMinus: "LITERAL-"
        case .id: "ID"
        case .enable: "ENABLE"
        case .idle: "IDLE"
        case .namespace: "NAMESPACE"
        case .unselect: "UNSELECT"
        case .uidPlus: "UIDPLUS"
        case .move: "MOVE"
        case .children: "CHILDREN"
        case .specialUse: "SPECIAL-USE"
        case .createSpecialUse: "CREATE-SPECIAL-USE"
        case .listExtended: "LIST-EXTENDED"
        case .listStatus: "LIST-STATUS"
        case .listMetadata: "LIST-METADATA"
        case .listMyRights: "LIST-MYRIGHTS"
        case .statusSize: "STATUS=SIZE"
        case .eSearch: "ESEARCH"
        case .searchRes: "SEARCHRES"
        case .within: "WITHIN"
        case .searchContext: "CONTEXT=SEARCH"
        case .sortContext: "CONTEXT=SORT"
        case .multiSearch: "MULTISEARCH"
        case .searchFuzzy: "SEARCH=FUZZY"
        case .sort: "SORT"
        case .sortDisplay: "SORT=DISPLAY"
        case .eSort: "ESORT"
        case .threadOrderedSubject: "THREAD=ORDEREDSUBJECT"
        case .threadReferences: "THREAD=REFERENCES"
        case .threadRefs: "THREAD=REFS"
        case .i18nLevel1: "I18NLEVEL=1"
        case .condStore: "CONDSTORE"
        case .quickResync: "QRESYNC"
        case .notify: "NOTIFY"
        case .uidOnly: "UIDONLY"
        case .objectID: "OBJECTID"
        case .saveDate: "SAVEDATE"
        case .partial: "PARTIAL"
        case .inProgress: "INPROGRESS"
        case .binary: "BINARY"
        case .multiAppend: "MULTIAPPEND"
        case .catenate: "CATENATE"
        case .replace: "REPLACE"
        case .preview: "PREVIEW"
        case .utf8Accept: "UTF8=ACCEPT"
        case .compressDeflate: "COMPRESS=DEFLATE"
        case .unauthenticate: "UNAUTHENTICATE"
        case .language: "LANGUAGE"
        case .metadata: "METADATA"
        case .metadataServer: "METADATA-SERVER"
        case .quota: "QUOTA"
        case .quotaStorage: "QUOTA=RES-STORAGE"
        case .quotaMessage: "QUOTA=RES-MESSAGE"
        case .quotaSet: "QUOTASET"
        case .acl: "ACL"
        case .rights: "RIGHTS=texk"
        case .appendLimit: "APPENDLIMIT"
        case .messageLimit: "MESSAGELIMIT"
        }
    }
}

/// What a server says it can do at one moment of a connection, in order.
///
/// What is not finished is not in the list: a client uses what is offered.
package struct CapabilityList: Hashable, Sendable {
    package private(set) var capabilities: [Capability]

    package init(_ capabilities: [Capability]) { self.capabilities = capabilities }

    package mutating func add(_ capability: Capability) {
        if !capabilities.contains(capability) { capabilities.append(capability) }
    }

    package mutating func remove(_ capability: Capability) {
        capabilities.removeAll { $0 == capability }
    }

    package func contains(_ capability: Capability) -> Bool {
        capabilities.contains(capability)
    }

    /// Before login. STARTTLS is offered only where TLS is still to come (RFC 9051 §6.2.1), a
    /// password only where it may be sent.
    package static func beforeLogin(
        offersStartTLS: Bool,
        allowsLogin: Bool
    ) -> CapabilityList {
        var list = CapabilityList([.imap4rev1, .imap4rev2, .literalPlus, .saslIR, .id, .enable])
        if offersStartTLS { list.add(.startTLS) }
        if allowsLogin {
            list.add(.authPlain)
            list.add(.authLogin)
        } else {
            list.add(.loginDisabled)
        }
        return list
    }

    /// After login: what is served today. `appendLimit` is nil where it differs by mailbox.
    package static func afterLogin(appendLimit: UInt64?) -> CapabilityList {
        CapabilityList([
            .imap4rev1,
            .imap4rev2,
            .literalPlus,
            .id,
            .enable,
            .idle,
            .namespace,
            .unselect,
            .uidPlus,
            .move,
            .children,
            .specialUse,
            .createSpecialUse,
            .listExtended,
            .listStatus,
            .statusSize,
            .condStore,
            .quickResync,
            .uidOnly,
            .eSearch,
            .searchRes,
            .within,
            .sort,
            .sortDisplay,
            .eSort,
            .threadOrderedSubject,
            .threadReferences,
            .threadRefs,
            .i18nLevel1,
            .partial,
            .binary,
            .multiAppend,
            .catenate,
            .replace,
            .preview,
            .saveDate,
            .objectID,
            .inProgress,
            .multiSearch,
            .searchContext,
            .notify,
            .utf8Accept,
            .compressDeflate,
            .quota,
            .quotaStorage,
            .quotaMessage,
            .acl,
            .rights,
            .listMyRights,
            .metadata,
            .listMetadata,
            .language,
            .appendLimit(appendLimit),
        ])
    }

    /// The words, with a space before each.
    package func write(to output: inout ByteBuffer) {
        for capability in capabilities {
            output.append(.space)
            capability.write(to: &output)
        }
    }
}
