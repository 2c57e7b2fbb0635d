import Glibc

/// A password or key in memory: wiped when dropped, and no string can be made of it by accident,
/// since a value that cannot be copied cannot be interpolated.
@safe
package struct Secret: ~Copyable, @unchecked Sendable {
    // Memory of its own, not an array: a copy made on write would be left behind unwiped.
    private let storage: UnsafeMutableRawBufferPointer

    /// Copies the bytes; the caller's own copy is the caller's to drop.
    package init(_ bytes: [UInt8]) {
        unsafe storage = .allocate(byteCount: bytes.count, alignment: 1)
        unsafe storage.copyBytes(from: bytes)
    }

    deinit {
        if let base = unsafe storage.baseAddress { unsafe explicit_bzero(base, storage.count) }
        unsafe storage.deallocate()
    }

    package var count: Int { unsafe storage.count }

    /// The bytes, for the one call that needs them.
    package borrowing func reveal<Result>(_ body: ([UInt8]) -> Result) -> Result {
        body(unsafe Array(storage))
    }

    /// Compares in a time that depends on the lengths alone.
    package borrowing func equals(_ other: [UInt8]) -> Bool {
        var difference = count ^ other.count
        for index in 0..<count {
            difference |= Int(unsafe storage[index] ^ (index < other.count ? other[index] : 0))
        }
        return difference == 0
    }
}

/// Random bytes of the kernel, for tickets, passwords and ids.
package func randomBytes(_ count: Int) -> [UInt8] {
    var generator = SystemRandomNumberGenerator()
    return (0..<count).map { _ in UInt8.random(in: 0...255, using: &generator) }
}
