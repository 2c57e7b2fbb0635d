/// The client broke the grammar. Answered BAD; the connection goes on.
///
/// `expected` is our own words only, so the answer can never reflect what a client sent.
package struct SyntaxError: Error, Equatable {
    /// Where in the command, in octets.
    package let offset: Int
    package let expected: StaticString
    /// The tag to answer with, where one could be parsed; else the answer is untagged.
    package var tag: [UInt8]?

    package init(at offset: Int, expected: StaticString, tag: [UInt8]? = nil) {
        self.offset = offset
        self.expected = expected
        self.tag = tag
    }

    package static func == (left: SyntaxError, right: SyntaxError) -> Bool {
        left.offset == right.offset && left.tag == right.tag
            && left.expected.description == right.expected.description
    }
}
