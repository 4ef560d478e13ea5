package rbe.edge.app;

import android.app.Activity;
import android.content.Intent;
import android.content.res.AssetFileDescriptor;
import android.database.Cursor;
import android.net.Uri;
import android.os.Bundle;
import android.provider.OpenableColumns;
import android.view.View;
import android.widget.AdapterView;
import android.widget.Button;
import android.widget.EditText;
import android.widget.ProgressBar;
import android.widget.ScrollView;
import android.widget.Spinner;
import android.widget.TextView;
import java.io.File;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import rbe.edge.Finish;
import rbe.edge.Generation;
import rbe.edge.GenerationOptions;
import rbe.edge.ModelInfo;
import rbe.edge.Power;
import rbe.edge.PowerMode;

/** The one screen: a transcript, a question, what is going on. All that takes time is in {@link Chat}. */
public final class ChatActivity extends Activity implements Chat.Listener, AdapterView.OnItemSelectedListener {
    private static final int PICK = 1;
    private static final String DEMO = "demo.rbe";

    private Chat chat;
    private Sensors sensors;
    private Button send;
    private Button open;
    private Button demo;
    private EditText question;
    private ProgressBar progress;
    private ScrollView scroll;
    private TextView status;
    private TextView transcript;
    private boolean busy;
    private boolean ready;

    @Override
    protected void onCreate(Bundle state) {
        super.onCreate(state);
        setContentView(R.layout.chat);
        send = findViewById(R.id.send);
        open = findViewById(R.id.open);
        demo = findViewById(R.id.demo);
        question = findViewById(R.id.question);
        progress = findViewById(R.id.progress);
        scroll = findViewById(R.id.scroll);
        status = findViewById(R.id.status);
        transcript = findViewById(R.id.transcript);
        open.setOnClickListener(view -> pick());
        demo.setOnClickListener(view -> openDemo());
        send.setOnClickListener(view -> sendOrStop());
        Power power = Power.open();
        sensors = new Sensors(this, power);
        sensors.start();
        chat = new Chat(this, power);
        Spinner modes = findViewById(R.id.power);
        modes.setOnItemSelectedListener(this);
        File[] models = Chat.models(folder());
        if (models.length > 0) {
            setBusy(true);
            chat.open(models[0]);
        }
    }

    @Override
    protected void onDestroy() {
        sensors.stop();
        chat.close();
        super.onDestroy();
    }

    @Override
    public void onTrimMemory(int level) {
        super.onTrimMemory(level);
        chat.trim();
    }

    /** The first choice is auto, then the modes in their order. */
    @Override
    public void onItemSelected(AdapterView<?> modes, View row, int position, long id) {
        chat.override(position == 0 ? null : PowerMode.values()[position - 1]);
    }

    @Override
    public void onNothingSelected(AdapterView<?> modes) {
        chat.override(null);
    }

    private File folder() {
        return new File(getFilesDir(), "models");
    }

    private void pick() {
        Intent intent = new Intent(Intent.ACTION_OPEN_DOCUMENT);
        intent.addCategory(Intent.CATEGORY_OPENABLE);
        intent.setType("*/*"); // .rbe has no type of its own
        startActivityForResult(intent, PICK);
    }

    @Override
    protected void onActivityResult(int request, int result, Intent data) {
        if (request == PICK && result == RESULT_OK && data != null && data.getData() != null) {
            openPicked(data.getData());
        }
    }

    private void openPicked(Uri uri) {
        String name = null;
        long bytes = ModelCopy.UNKNOWN;
        String[] wanted = {OpenableColumns.DISPLAY_NAME, OpenableColumns.SIZE};
        try (Cursor cursor = getContentResolver().query(uri, wanted, null, null, null)) {
            if (cursor != null && cursor.moveToFirst()) {
                name = cursor.getString(0);
                bytes = cursor.isNull(1) ? ModelCopy.UNKNOWN : cursor.getLong(1);
            }
        }
        setBusy(true);
        chat.open(() -> streamOf(uri), bytes, new File(folder(), ModelCopy.safeName(name)));
    }

    private InputStream streamOf(Uri uri) throws IOException {
        InputStream stream = getContentResolver().openInputStream(uri);
        if (stream == null) {
            throw new FileNotFoundException("the file is gone; open another");
        }
        return stream;
    }

    private void openDemo() {
        long bytes = ModelCopy.UNKNOWN; // that of a compressed asset is not told
        try (AssetFileDescriptor asset = getAssets().openFd(DEMO)) {
            bytes = asset.getLength();
        } catch (IOException compressed) {
            status.setText(R.string.begin);
        }
        setBusy(true);
        chat.open(() -> getAssets().open(DEMO), bytes, new File(folder(), DEMO));
    }

    private void sendOrStop() {
        String text = question.getText().toString().trim();
        if (busy) {
            chat.stop();
        } else if (!text.isEmpty()) {
            question.setText("");
            show(getString(R.string.you, text) + "\n\n");
            setBusy(true);
            // Not always the same words: who wants that gives a seed of their own.
            chat.ask(text, new GenerationOptions().temperature(0.7f).topP(0.95f).seed(System.nanoTime()));
        }
    }

    /** On the main thread. */
    private void setBusy(boolean value) {
        busy = value;
        open.setEnabled(!busy);
        demo.setEnabled(!busy);
        send.setEnabled(busy || ready);
        send.setText(busy ? R.string.stop : R.string.send);
        if (!busy) {
            progress.setVisibility(View.INVISIBLE);
        }
    }

    /** On the main thread. */
    private void show(String text) {
        transcript.append(text);
        scroll.post(() -> scroll.fullScroll(View.FOCUS_DOWN));
    }

    private void tell(String line, long done, long total) {
        runOnUiThread(() -> {
            status.setText(line);
            progress.setVisibility(View.VISIBLE);
            progress.setIndeterminate(total <= 0);
            progress.setProgress(total <= 0 ? 0 : (int) (1000 * done / total));
        });
    }

    private void end(String line) {
        runOnUiThread(() -> {
            status.setText(line);
            setBusy(false);
        });
    }

    @Override
    public void copying(long done, long total) {
        String all = total > 0 ? ModelCopy.size(total) : "?";
        tell(getString(R.string.copying, ModelCopy.size(done), all), done, total);
    }

    @Override
    public void opening(String name) {
        tell(getString(R.string.opening, name), 0, 0);
    }

    @Override
    public void ready(String name, ModelInfo info) {
        runOnUiThread(() -> {
            ready = true;
            transcript.setText("");
        });
        end(getString(R.string.ready, name, info.parameters / 1e6, info.kernelSet));
    }

    @Override
    public void reading(long done, long total) {
        tell(getString(R.string.reading, done, total), done, total);
    }

    @Override
    public void said(String piece) {
        runOnUiThread(() -> {
            progress.setVisibility(View.INVISIBLE);
            show(piece);
        });
    }

    @Override
    public void power(String line) {
        runOnUiThread(() -> status.setText(line));
    }

    @Override
    public void answered(Generation answer, String power) {
        Finish finish = answer.finish();
        boolean cut = finish == Finish.LENGTH || finish == Finish.CONTEXT || finish == Finish.CANCELLED;
        runOnUiThread(() -> show("\n\n"));
        end(getString(
                cut ? R.string.cut : R.string.answered, answer.tokens(), answer.tokensPerSecond(), answer.promptSeconds(), power));
    }

    @Override
    public void stopped() {
        end(getString(R.string.stopped));
    }

    @Override
    public void failed(String message) {
        end(message);
    }
}
