import java.io.ByteArrayOutputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Base64;

/**
 * Java's HttpClient as a client of the proxy.
 *
 * <pre>java Client.java HOW URL FILE TIMES [NAME:VALUE]...</pre>
 *
 * Prints one line of JSON per answer. Knows nothing of what is expected.
 */
public class Client {
    private static final String BOUNDARY = "innopaas-java-boundary";

    public static void main(String[] arguments) throws Exception {
        String how = arguments[0];
        URI url = URI.create(arguments[1]);
        Path file = Path.of(arguments[2]);
        int times = Integer.parseInt(arguments[3]);
        String[] headers = Arrays.copyOfRange(arguments, 4, arguments.length);

        // No version is set on purpose: the default prefers HTTP/2, and offers h2c in cleartext.
        HttpClient client = HttpClient.newBuilder().proxy(HttpClient.Builder.NO_PROXY).build();
        for (int call = 0; call < times; call++) {
            HttpRequest.Builder request = HttpRequest.newBuilder(url)
                    .timeout(Duration.ofSeconds(30))
                    .POST(body(how, file));
            for (String header : headers) {
                int colon = header.indexOf(':');
                request.header(header.substring(0, colon), header.substring(colon + 1));
            }
            if (how.equals("upload")) {
                request.header("Content-Type", "multipart/form-data; boundary=" + BOUNDARY);
            }
            report(client.send(request.build(), BodyHandlers.ofByteArray()));
        }
    }

    /** None of the publishers sets a content type. */
    private static BodyPublisher body(String how, Path file) throws Exception {
        switch (how) {
            case "bytes":
                return BodyPublishers.ofByteArray(Files.readAllBytes(file));
            case "text":
                return BodyPublishers.ofString(Files.readString(file));
            case "upload":
                return BodyPublishers.ofByteArray(multipart(file));
            default:
                throw new IllegalArgumentException("HttpClient has no way to send " + how);
        }
    }

    /** By hand: HttpClient has no multipart of its own. */
    private static byte[] multipart(Path file) throws Exception {
        ByteArrayOutputStream body = new ByteArrayOutputStream();
        String head = "--" + BOUNDARY + "\r\n"
                + "Content-Disposition: form-data; name=\"file\"; filename=\""
                + file.getFileName() + "\"\r\n"
                + "Content-Type: application/octet-stream\r\n\r\n";
        body.write(head.getBytes(StandardCharsets.UTF_8));
        body.write(Files.readAllBytes(file));
        body.write(("\r\n--" + BOUNDARY + "--\r\n").getBytes(StandardCharsets.UTF_8));
        return body.toByteArray();
    }

    private static void report(HttpResponse<byte[]> answer) {
        System.out.printf(
                "{\"status\": %d, \"content_type\": \"%s\", \"request_id\": \"%s\","
                        + " \"proxy_status\": \"%s\", \"body\": \"%s\"}%n",
                answer.statusCode(),
                header(answer, "content-type"),
                header(answer, "x-request-id"),
                header(answer, "proxy-status"),
                Base64.getEncoder().encodeToString(answer.body()));
    }

    private static String header(HttpResponse<?> answer, String name) {
        String value = answer.headers().firstValue(name).orElse("");
        return value.replace("\\", "\\\\").replace("\"", "\\\"");
    }
}
