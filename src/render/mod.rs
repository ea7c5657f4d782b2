//! Plan and report as one versioned document without values, and that document as text or JSON.
