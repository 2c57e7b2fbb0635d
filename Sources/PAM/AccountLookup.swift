import Glibc
package import Privsep

/// Why NSS gives no account.
package enum AccountError: Error, Equatable {
    case unknown
    /// A directory that does not answer, or an entry that is too large to be right.
    case unavailable
}

/// Looks accounts up through NSS. Blocks as long as that does.
package enum AccountLookup {
    package static func named(_ name: [UInt8]) throws(AccountError) -> Account {
        let name = name.map { CChar(bitPattern: $0) } + [0]
        return unsafe try lookUp { entry, buffer, count, result in
            unsafe getpwnam_r(name, entry, buffer, count, result)
        }
    }

    package static func of(uid: UInt32) throws(AccountError) -> Account {
        unsafe try lookUp { entry, buffer, count, result in
            unsafe getpwuid_r(uid, entry, buffer, count, result)
        }
    }

    private typealias Call = (
        UnsafeMutablePointer<passwd>, UnsafeMutablePointer<CChar>, Int,
        UnsafeMutablePointer<UnsafeMutablePointer<passwd>?>
    ) -> CInt

    private static func lookUp(_ call: Call) throws(AccountError) -> Account {
        var size = 1_024
        while size <= PAMLimits.passwdBytesMax {
            let buffer = UnsafeMutablePointer<CChar>.allocate(capacity: size)
            defer { unsafe buffer.deallocate() }
            var entry = unsafe passwd()
            var found: UnsafeMutablePointer<passwd>?
            let error = unsafe call(&entry, buffer, size, &found)
            if error == ERANGE {
                size *= 2
                continue
            }
            guard unsafe found != nil else {
                // POSIX leaves open how "no such name" is said; these are the ways in use.
                let isUnknown = [0, ENOENT, ESRCH, EBADF, EPERM].contains(error)
                throw isUnknown ? .unknown : .unavailable
            }
            return unsafe try account(entry)
        }
        throw .unavailable
    }

    private static func account(_ entry: passwd) throws(AccountError) -> Account {
        let name = unsafe bytes(entry.pw_name)
        let home = unsafe bytes(entry.pw_dir)
        guard !name.isEmpty, name.count <= FieldLimits.userNameBytesMax,
            home.count <= FieldLimits.pathBytesMax
        else { throw .unavailable }
        return Account(
            name: name,
            uid: unsafe entry.pw_uid,
            gid: unsafe entry.pw_gid,
            groups: unsafe try groups(of: entry.pw_name, entry.pw_gid),
            home: home
        )
    }

    private static func groups(
        of name: UnsafeMutablePointer<CChar>,
        _ gid: gid_t
    ) throws(AccountError) -> [UInt32] {
        var count: CInt = 64
        while count <= FieldLimits.groupCountMax {
            var list = [gid_t](repeating: 0, count: Int(count))
            let room = count
            if unsafe getgrouplist(name, gid, &list, &count) >= 0 {
                return Array(list[..<Int(count)])
            }
            // The count needed is in `count`; some directories leave it as it was.
            count = max(count, room * 2)
        }
        throw .unavailable
    }

    private static func bytes(_ text: UnsafeMutablePointer<CChar>?) -> [UInt8] {
        guard let text = unsafe text else { return [] }
        return unsafe Array(UnsafeRawBufferPointer(start: text, count: strlen(text)))
    }
}
