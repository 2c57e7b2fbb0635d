import CLMDB

/// A look at, or a change of, the records. Used by the thread that began it, and ended before it
/// waits for anything: while a writer is at work no reader is, and the other way round.
@safe
struct IndexTransaction: ~Copyable {
    private let raw: OpaquePointer

    init(_ environment: OpaquePointer, writes: Bool) throws(IndexError) {
        var result: OpaquePointer?
        let code = unsafe martlet_lmdb_begin(environment, writes ? 1 : 0, &result)
        guard code == 0, let result = unsafe result else { throw IndexError(code: code) }
        unsafe raw = result
    }

    deinit { unsafe martlet_lmdb_abort(raw) }

    consuming func commit() throws(IndexError) {
        let raw = unsafe self.raw
        discard self
        try Self.check(unsafe martlet_lmdb_commit(raw))
    }

    /// Calls `body` with the record, valid only inside. False where there is none.
    @discardableResult
    func read(
        _ key: IndexKey,
        _ body: (borrowing Span<UInt8>) throws(IndexError) -> Void
    ) throws(IndexError) -> Bool {
        var bytes: UnsafePointer<UInt8>?
        var count = 0
        let code = unsafe key.withBytes {
            unsafe martlet_lmdb_get(raw, $0, key.count, &bytes, &count)
        }
        if code == CInt(MARTLET_LMDB_NOT_FOUND) { return false }
        try Self.check(code)
        guard let bytes = unsafe bytes else { throw .inconsistent }
        try body(unsafe Span(_unsafeStart: bytes, count: count))
        return true
    }

    /// Calls `body` with the first record from a key on and below another of the same length.
    func readFirst(
        from key: IndexKey,
        below end: IndexKey,
        _ body: (IndexKey, borrowing Span<UInt8>) throws(IndexError) -> Void
    ) throws(IndexError) {
        var found = InlineArray<64, UInt8>(repeating: 0)
        var foundCount = 0
        var bytes: UnsafePointer<UInt8>?
        var count = 0
        let code = unsafe key.withBytes { name in
            var room = found.mutableSpan
            return unsafe room.withUnsafeMutableBufferPointer { room in
                unsafe martlet_lmdb_first(
                    raw,
                    name,
                    key.count,
                    room.baseAddress,
                    &foundCount,
                    &bytes,
                    &count
                )
            }
        }
        if code == CInt(MARTLET_LMDB_NOT_FOUND) { return }
        try Self.check(code)
        guard let at = IndexKey(found, foundCount), at.isBelow(end), at.count == end.count,
            let bytes = unsafe bytes
        else { return }
        try body(at, unsafe Span(_unsafeStart: bytes, count: count))
    }

    /// Nil leaves the record as it is; an empty one is removed.
    func replace(_ key: IndexKey, _ bytes: [UInt8]?) throws(IndexError) {
        guard let bytes else { return }
        if bytes.isEmpty { try remove(key) } else { try write(key, bytes.span) }
    }

    func write(_ key: IndexKey, _ bytes: Span<UInt8>) throws(IndexError) {
        try Self.check(
            unsafe key.withBytes { name in
                unsafe bytes.withUnsafeBufferPointer {
                    unsafe martlet_lmdb_put(raw, name, key.count, $0.baseAddress, $0.count)
                }
            }
        )
    }

    func remove(_ key: IndexKey) throws(IndexError) {
        let code = unsafe key.withBytes { unsafe martlet_lmdb_remove(raw, $0, key.count) }
        if code != CInt(MARTLET_LMDB_NOT_FOUND) { try Self.check(code) }
    }

    /// Removes the records from `first` on and below `end`, at most `limit`; returns how many.
    func remove(
        _ first: IndexKey,
        _ end: IndexKey,
        _ limit: Int
    ) throws(IndexError) -> Int {
        var removed = 0
        let code = unsafe first.withBytes { first in
            unsafe end.withBytes { last in
                unsafe martlet_lmdb_remove_range(raw, first, last, end.count, limit, &removed)
            }
        }
        try Self.check(code)
        return removed
    }

    private static func check(_ code: CInt) throws(IndexError) {
        guard code == 0 else { throw IndexError(code: code) }
    }
}
