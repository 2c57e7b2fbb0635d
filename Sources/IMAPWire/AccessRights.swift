/// How SETACL changes the rights of an identifier.                           RFC 4314 §3.1
package struct RightsChange: Hashable, Sendable {
    package enum Operation: Hashable, Sendable {
        case replace
        case add
        case remove
    }

    package let operation: Operation
    /// Letters and digits as sent; the session refuses those it does not know.
    package let rights: [UInt8]

    package init(operation: Operation, rights: [UInt8]) {
        self.operation = operation
        self.rights = rights
    }
}

/// One resource and its limit in SETQUOTA and in answers.                    RFC 9208 §4.1.2
package struct QuotaLimit: Hashable, Sendable {
    /// Upper-cased: STORAGE, MESSAGE and so on.
    package let resource: [UInt8]
    package let limit: UInt64

    package init(resource: [UInt8], limit: UInt64) {
        self.resource = resource
        self.limit = limit
    }
}

/// One field of ID; the value may be NIL.                                    RFC 2971 §3.3
package struct IDField: Hashable, Sendable {
    package let name: [UInt8]
    package let value: [UInt8]?

    package init(name: [UInt8], value: [UInt8]?) {
        self.name = name
        self.value = value
    }
}
