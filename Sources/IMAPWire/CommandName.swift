/// The first word of a command, or the second of one that begins with UID.
enum CommandName: Sendable {
    case append, authenticate, cancelUpdate, capability, check, close, compress, copy, create
    case delete, deleteACL, enable, esearch, examine, expunge, fetch, getACL, getMetadata
    case getQuota, getQuotaRoot, id, idle, language, list, listRights, login, logout, lsub, move
    case myRights, namespace, noop, notify, rename, replace, search, select, setACL, setMetadata
    case setQuota, sort, startTLS, status, store, subscribe, thread, uid, unauthenticate
    case unselect, unsubscribe

    static let all = Keywords<CommandName>([
        ("APPEND", .append), ("AUTHENTICATE", .authenticate), ("CANCELUPDATE", .cancelUpdate),
        ("CAPABILITY", .capability), ("CHECK", .check), ("CLOSE", .close),
        ("COMPRESS", .compress), ("COPY", .copy), ("CREATE", .create), ("DELETE", .delete),
        ("DELETEACL", .deleteACL), ("ENABLE", .enable), ("ESEARCH", .esearch),
        ("EXAMINE", .examine), ("EXPUNGE", .expunge), ("FETCH", .fetch), ("GETACL", .getACL),
        ("GETMETADATA", .getMetadata), ("GETQUOTA", .getQuota),
        ("GETQUOTAROOT", .getQuotaRoot), ("ID", .id), ("IDLE", .idle), ("LANGUAGE", .language),
        ("LIST", .list), ("LISTRIGHTS", .listRights), ("LOGIN", .login), ("LOGOUT", .logout),
        ("LSUB", .lsub), ("MOVE", .move), ("MYRIGHTS", .myRights), ("NAMESPACE", .namespace),
        ("NOOP", .noop), ("NOTIFY", .notify), ("RENAME", .rename), ("REPLACE", .replace),
        ("SEARCH", .search), ("SELECT", .select), ("SETACL", .setACL),
        ("SETMETADATA", .setMetadata), ("SETQUOTA", .setQuota), ("SORT", .sort),
        ("STARTTLS", .startTLS), ("STATUS", .status), ("STORE", .store),
        ("SUBSCRIBE", .subscribe), ("THREAD", .thread), ("UID", .uid),
        ("UNAUTHENTICATE", .unauthenticate), ("UNSELECT", .unselect),
        ("UNSUBSCRIBE", .unsubscribe),
    ])
}
